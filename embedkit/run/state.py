"""What the stages of one run hand to each other."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from embedkit.disk.folders import RunFolder
from embedkit.errors import WriteError
from embedkit.recipe.schema import Recipe
from embedkit.run.measuring import Measuring
from embedkit.train.stopping import Stopping
from embedkit.types import RunRecord, Scores

if TYPE_CHECKING:
    from embedkit.data.sources import LoadedSource
    from embedkit.train.distributed import Comm

Say = Callable[[Any], None]


@dataclass
class Run:
    """What the stages of one run hand to each other.

    Attributes:
        stopping: listens to the system's signals.
        known: what an earlier start of this run recorded.
        after: what the result was measured at, with what the record does not hold.
        recording: whether this start has got so far that its record replaces the earlier one.
    """

    recipe: Recipe
    folder: RunFolder
    comm: Comm
    record: RunRecord
    say: Say
    progress: bool
    forecasts: bool
    measuring: Measuring
    stopping: Stopping = field(default_factory=Stopping)
    known: RunRecord | None = None
    sources: list[LoadedSource] = field(default_factory=list)
    clock: float = 0.0
    """When the forecast was made, on `time.perf_counter`."""
    after: Scores | None = None
    recording: bool = False

    @property
    def first(self) -> bool:
        return self.comm.rank == 0

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.record.timings[stage] = round(self.record.timings.get(stage, 0) + time.perf_counter() - start, 3)

    def write_record(self) -> None:
        self.recording = True
        if self.first:
            self.folder.write_record(self.record)

    def ended(self, why: str) -> None:
        """Record why the run ends before its end; nothing where it had not begun, or is finished."""
        if self.recording and not self.record.finished:
            self.record.failed = why
            with suppress(WriteError):  # the error that ends the run is the one to be seen
                self.write_record()


@contextmanager
def process_zero_first(comm: Comm) -> Iterator[None]:
    """Process 0 downloads and fills caches, the others read them afterwards."""
    if comm.rank != 0:
        comm.barrier()
    yield
    if comm.rank == 0:
        comm.barrier()
