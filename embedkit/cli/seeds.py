"""``embedkit train --seeds N``: the same run with several seeds, and what it says about the result."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from embedkit.cli.console import say
from embedkit.errors import EmbedkitError
from embedkit.terminal.tables import Column, Grid, name_column

if TYPE_CHECKING:
    from embedkit.recipe.load import Loaded


def train_seeds(loaded: Loaded, arguments: Sequence[str], out: Path, count: int, *, resume: bool) -> None:
    """Train with seeds ``train.seed``, + 1, ... into ``out/seed-K``, each in a process of its own; print the spread.

    Args:
        loaded: the recipe.
        arguments: of ``embedkit train``, without ``--out`` and ``--resume``.
        out: folder of the runs.
        count: how many.
        resume: leave finished runs as they are and go on with the others.

    Raises:
        typer.Exit: with the code of a run that failed.
    """
    first = loaded.recipe.train.seed
    if not resume and out.is_dir() and any(out.iterdir()):
        raise EmbedkitError("is not empty", str(out), "add --resume to go on, or choose another --out")
    records = []
    for seed in range(first, first + count):
        folder = out / f"seed-{seed}"
        if not _finished(folder):
            say(f"seed {seed} -> {folder}")
            _train(arguments, seed, folder, resume=resume and folder.is_dir())
        records.append(json.loads((folder / "run.json").read_text(encoding="utf-8")))
    say(spread(records))


def spread(records: Sequence[dict[str, Any]]) -> Grid:
    """Mean and standard deviation over runs of each task's main metric, before, after, and their difference.

    Args:
        records: ``run.json`` of each run.
    """
    numbers = [Column("before", 1), Column("after"), Column("change")]
    columns = [name_column("task"), Column("metric", 2, right=False), *numbers]
    table = Grid(columns, f"{len(records)} seeds: mean ± standard deviation")
    after = [_mains(record["scores_after"]) for record in records]
    before = [_mains(record["scores_before"]) for record in records]
    for task, metric in after[0]:
        ends = [scores[task, metric] for scores in after]
        starts = [scores[task, metric] for scores in before if (task, metric) in scores]
        changes = [e - s for e, s in zip(ends, starts, strict=True)] if len(starts) == len(ends) else []
        table.add(task, metric, _mean(starts), _mean(ends), _mean(changes, sign="+"))
    return table


def _mains(scores: dict[str, Any] | None) -> dict[tuple[str, str], float]:
    if scores is None:
        return {}
    found = {(task["task"], task["main"]): task["metrics"][task["main"]] for task in scores["tasks"]}
    return found if len(found) < 2 else {**found, ("average", "of the main metrics"): scores["average"]}


def _mean(values: Sequence[float], sign: str = "") -> str:
    if not values:
        return "-"
    mean = f"{statistics.mean(values):{sign}.2f}"
    return mean if len(values) < 2 else f"{mean} ± {statistics.stdev(values):.2f}"


def _finished(folder: Path) -> bool:
    record = folder / "run.json"
    return record.is_file() and bool(json.loads(record.read_text(encoding="utf-8")).get("finished"))


def _train(arguments: Sequence[str], seed: int, folder: Path, *, resume: bool) -> None:
    command = [sys.executable, "-m", "embedkit", "train", *arguments, f"train.seed={seed}", "--out", str(folder)]
    done = subprocess.run([*command, *(["--resume"] if resume else [])], check=False)  # noqa: S603
    if done.returncode:
        raise typer.Exit(done.returncode)
