"""One search of a run: in a folder of its own, done once, whoever does it and however often it is begun."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from embedkit.errors import TrainingError
from embedkit.mining.miner import By, Miner
from embedkit.mining.schedule import Turn
from embedkit.mining.shares import ALONE, Team
from embedkit.mining.strategies.base import Occasion, Strategy
from embedkit.mining.table import MinedTable

Tables = Mapping[int, MinedTable]
"""By the index of a source."""


def table_file(folder: Path, source: int) -> Path:
    """Where the table of a source stands in the folder of a search, or of a checkpoint."""
    return folder / f"mined-{source}.safetensors"


def write_tables(folder: Path, tables: Tables) -> None:
    """Write every table below `folder`."""
    for source, table in tables.items():
        table.write(table_file(folder, source))


def read_tables(folder: Path, miners: Mapping[int, Miner]) -> dict[int, MinedTable]:
    """The tables below `folder` that are there.

    Raises:
        TrainingError: one is damaged, or of other data.
    """
    return {
        source: MinedTable.read(path, len(miner.problem.queries))
        for source, miner in miners.items()
        if (path := table_file(folder, source)).exists()
    }


def search(
    folder: Path,
    turn: Turn,
    total: int,
    miners: Mapping[int, Miner],
    strategy: Strategy,
    by: By,
    before: Tables,
    settings: str,
    team: Team = ALONE,
) -> None:
    """Search for all sources and write their tables into `folder`; those that are there already stay.

    Args:
        folder: of this search.
        turn: which search it is.
        total: searches of the run.
        miners: by source.
        strategy: what becomes of the negatives.
        by: the model.
        before: the negatives in use.
        settings: stands for everything else that a search depends on.
        team: the processes that search together.
    """
    for source, miner in miners.items():
        old = before.get(source)
        key = _key(turn, miner, by, old, settings)
        found: MinedTable | None = None
        with suppress(TrainingError):
            found = MinedTable.read(table_file(folder, source), len(miner.problem.queries))
        if any(team.collect(found is None or found.report.get("key") != key)):
            made = strategy.refresh(miner, Occasion(turn.number, total, by, old))
            report = {**made.report, "key": key}
            made = replace(made, version=turn.number, update=turn.start, report=report)
            if team.rank == 0:
                made.write(table_file(folder, source))
        team.barrier()


def _key(turn: Turn, miner: Miner, by: By, before: MinedTable | None, settings: str) -> str:
    old = "" if before is None else hashlib.sha256(before.rows.tobytes()).hexdigest()
    parts = [settings, repr(turn), by.fingerprint, miner.problem.digest, old]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]
