"""Negatives that are searched for again while a model trains: in its own process, or beside it.

Reproducible, whatever happens on the way: a search depends on the weights before its update, its negatives are used
from an update that is fixed when it begins, and what is needed to go on stands in the checkpoint (the negatives in use)
and in the run's folder (the model of a search that is not done).
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from embedkit.data.text import text_id
from embedkit.disk import files
from embedkit.errors import TrainingError
from embedkit.foreign.parsing import from_json
from embedkit.mining.miner import By, Miner
from embedkit.mining.schedule import Turn
from embedkit.mining.search import read_tables, search, table_file, write_tables
from embedkit.mining.shares import ALONE, Team
from embedkit.mining.strategies.base import Strategy
from embedkit.mining.table import MinedTable
from embedkit.types import Example

STATE, PENDING = "mined", "pending.json"
"""Folder in a checkpoint, and the file there that says which search is under way."""
KEPT = 4
"""Searches whose tables stay in the run's folder."""


class Beside(Protocol):
    """Runs searches in another process, see `embedkit.mining.background`."""

    def prepare(self, folder: Path, turn: Turn, total: int, before: Mapping[int, MinedTable]) -> None:
        """Put what the search needs into its folder: a copy of the model as it is now, and the negatives in use."""
        ...

    def start(self, folder: Path) -> None:
        """Begin, or begin again."""
        ...

    def wait(self, folder: Path) -> None:
        """Return when the search is done.

        Raises:
            TrainingError: it failed; with its last words.
        """
        ...

    def threads(self, searching: bool) -> None:
        """Divide the machine's threads."""
        ...

    def stop(self) -> None:
        """End what is going on."""
        ...


@dataclass(frozen=True)
class News:
    """What became known about one version of one source's negatives.

    Attributes:
        source: index of the source.
        turn: when it was searched for, and since when it is used.
        table: the negatives.
        changed: share of them that the version before did not have.
        waited: seconds of training that it cost, in this process.
    """

    source: int
    turn: Turn
    table: MinedTable
    changed: float
    waited: float


class OnlineNegatives:
    """Negatives of a run's sources.

    Args:
        miners: by the index of the source, where it is mined.
        strategy: what becomes of the negatives at a refresh.
        turns: the searches of the run.
        folder: of the run, for searches.
        by: gives the model as it is now.
        settings: stands for what a search depends on besides model and data.
        beside: runs searches in another process; None: training waits for them.
        team: the processes of the run.
        told: receives the news of every version, in process 0.
    """

    def __init__(
        self,
        miners: Mapping[int, Miner],
        strategy: Strategy,
        turns: Sequence[Turn],
        folder: Path,
        by: Callable[[], By],
        *,
        settings: str = "",
        beside: Beside | None = None,
        team: Team = ALONE,
        told: Callable[[News], None] = lambda news: None,
    ) -> None:
        self.miners, self.strategy, self.turns, self.folder = dict(miners), strategy, list(turns), folder
        self._by, self._settings, self._beside, self._team, self._told = by, settings, beside, team, told
        self.tables: dict[int, MinedTable] = {}
        self._pending: Turn | None = None
        self._running = False
        self._waited = 0.0
        self._rows = {
            source: {int(key): row for row, key in enumerate(miner.problem.query_text_ids)}
            for source, miner in self.miners.items()
        }

    def join(self, source: int, examples: list[Example]) -> list[Example]:
        """The examples with the negatives in use; a query has those that were found for it, however few."""
        table = self.tables.get(source)
        if table is None:
            return examples
        documents, rows = self.miners[source].problem.documents, self._rows[source]

        def joined(example: Example) -> Example:
            found = table.negatives(rows[text_id(example.query)])
            return replace(example, negatives=tuple(documents[row] for row in found), scores=example.scores[:1])

        return [joined(example) for example in examples]

    def before(self, update: int) -> None:
        """Take over the result that is due, then begin the search that is due."""
        if self._pending is not None:
            self._go_on(self._pending)
            if update >= self._pending.effect:
                self._take(self._pending)
        turn = next((turn for turn in self.turns if turn.start == update), None)
        if turn is not None and self._newest < turn.number:
            self._begin(turn)
        if self._beside is not None:
            self._beside.threads(self._pending is not None)

    @contextmanager
    def stand_ins(self) -> Iterator[None]:
        """Within it queries have documents for negatives that nobody searched for, as many as will be found."""
        before = self.tables
        self.tables = {source: _any_documents(miner) for source, miner in self.miners.items()}
        try:
            yield
        finally:
            self.tables = before

    def save(self, folder: Path) -> None:
        """The negatives in use, and which search is under way."""
        files.make_folder(folder / STATE)
        write_tables(folder / STATE, self.tables)
        files.write_json(folder / STATE / PENDING, {"pending": self._pending and self._pending.number})

    def load(self, folder: Path) -> None:
        """Go on from a checkpoint.

        Raises:
            TrainingError: its negatives are damaged, or of other data.
        """
        file = folder / STATE / PENDING
        try:
            pending = from_json(file.read_bytes())["pending"]
            self._pending = None if pending is None else self.turns[pending]
        except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
            what = f"does not say which search was under way: {error}"
            raise TrainingError(what, str(file), "resume from an older checkpoint, or train anew") from error
        self.tables = read_tables(folder / STATE, self.miners)
        self._running = False

    def close(self) -> None:
        """End a search that is under way; a resumed run begins it again."""
        if self._beside is not None:
            self._beside.stop()
            self._beside.threads(False)
        self._running = False

    @property
    def _newest(self) -> int:
        numbers = [table.version for table in self.tables.values()]
        return max([-1, *numbers, *([] if self._pending is None else [self._pending.number])])

    def _begin(self, turn: Turn) -> None:
        self._pending = turn
        began = time.perf_counter()
        if self._beside is not None and turn.effect > turn.start:
            if self._team.rank == 0:
                self._beside.prepare(self._of(turn), turn, len(self.turns), self.tables)
            self._go_on(turn)
            self._waited = time.perf_counter() - began
            return
        total, folder = len(self.turns), self._of(turn)
        search(folder, turn, total, self.miners, self.strategy, self._by(), self.tables, self._settings, self._team)
        self._waited = time.perf_counter() - began
        self._take(turn)

    def _go_on(self, turn: Turn) -> None:
        """Have a search under way that another process does."""
        if not self._running and self._beside is not None and turn.effect > turn.start and self._team.rank == 0:
            if not self._is_done(turn):
                self._beside.start(self._of(turn))
            self._running = True

    def _is_done(self, turn: Turn) -> bool:
        return all(table_file(self._of(turn), source).exists() for source in self.miners)

    def _take(self, turn: Turn) -> None:
        """Use the negatives of a search from now on."""
        began = time.perf_counter()
        if self._team.rank == 0 and not self._is_done(turn) and self._beside is not None:
            self._beside.wait(self._of(turn))
        self._team.barrier()
        before, self._pending, self._running = self.tables, None, False
        self.tables = read_tables(self._of(turn), self.miners)
        self._team.barrier()
        waited = self._waited + time.perf_counter() - began
        if self._team.rank == 0:
            self._tidy(turn)
            for source, table in self.tables.items():
                self._told(News(source, turn, table, table.changed(before.get(source)), waited))
                waited = 0.0
        self._waited = 0.0

    def _of(self, turn: Turn) -> Path:
        return self.folder / f"update-{turn.start:06d}"

    def _tidy(self, turn: Turn) -> None:
        """The copy of the model has served; of old searches the tables go too."""
        for name in ("model", "before"):
            shutil.rmtree(self._of(turn) / name, ignore_errors=True)
        for old in self.turns[: max(0, turn.number - KEPT)]:
            shutil.rmtree(self._of(old), ignore_errors=True)


def _any_documents(miner: Miner) -> MinedTable:
    queries, documents, keep = len(miner.problem.queries), len(miner.problem.documents), miner.search.keep
    rows = np.arange(queries * keep, dtype=np.int64).reshape(queries, keep) % documents
    nothing = np.zeros(rows.shape, np.float32)
    return MinedTable(rows, nothing, rows + 1, nothing[:, 0])
