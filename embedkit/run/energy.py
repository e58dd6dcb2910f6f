"""The energy of a training where the machine counts it; nothing is estimated from a share of it or from a rated power.

A processor's counters are Linux's RAPL (``/sys/class/powercap``): microjoules of each package, and of its memory where
that is counted apart, of everything that ran there. They start again from 0 after some minutes, so they are read all
along. A GPU's counter is NVML's, asked through the package ``nvidia-ml-py`` where it is installed. Where one of the
counters of a kind cannot be read, that kind is left out: a sum without it would be a wrong number.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from embedkit.foreign import showing
from embedkit.train.distributed import Comm

logger = showing.logger(__name__)

POWERCAP = Path("/sys/class/powercap")
PROCESSOR, GPUS, SECONDS = "processor", "gpus", "seconds"
"""Keys of `embedkit.types.RunRecord.energy`: joules, joules, and how long they were counted."""
EVERY = 20.0
"""Seconds between two readings. The smallest range in use, 65 kJ, lasts 130 s at 500 W."""
LATE = 100.0
"""Seconds after which a reading comes too late to know how often a counter began again."""

Read = Callable[[], float]


@dataclass(frozen=True)
class Counter:
    """A number of joules that only grows.

    Attributes:
        read: gives it; raises where it cannot be read.
        wraps: after how many joules it begins again at 0; None: never.
    """

    read: Read
    wraps: float | None = None

    def between(self, before: float, after: float) -> float:
        """Joules from one reading to the next, at most one beginning again between them."""
        return after - before if after >= before or self.wraps is None else after + self.wraps - before


def processors(root: Path | None = None) -> list[Counter]:
    """The counters of all packages and of memory that is counted apart; none where one of them cannot be read.

    Zones of the whole platform, of cores and of graphics are left out: a package holds the latter, the platform both.

    Args:
        root: the folder of the zones; None: `POWERCAP`.
    """
    found = []
    try:
        for zone in sorted((root or POWERCAP).glob("intel-rapl:*")):
            name = (zone / "name").read_text().strip()
            if name.startswith("package") or name == "dram":
                found.append(_zone(zone))
    except (OSError, ValueError) as error:  # only root may read them on most machines
        logger.debug("no energy of the processor: %s", error)
        return []
    return found


def _zone(zone: Path) -> Counter:
    def read() -> float:
        return int((zone / "energy_uj").read_text()) / 1e6

    read()
    return Counter(read, int((zone / "max_energy_range_uj").read_text()) / 1e6)


def gpus(device: torch.device) -> list[Counter]:
    """The counter of the GPU that a process trains on; none where there is none, or it cannot be asked."""
    if device.type != "cuda":
        return []
    try:
        import pynvml

        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(device).uuid}")
        counter = Counter(lambda: pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1e3)
        counter.read()
    except Exception as error:  # not installed, an old GPU, a part of one (MIG), a library without its driver
        logger.debug("no energy of the GPU: %s", error)
        return []
    return [counter]


class Meter:
    """Joules of some counters between `start` and `stop`.

    Args:
        counters: by kind. A kind without counters is not measured.
        every: seconds between two readings.
        clock: seconds that pass.
    """

    def __init__(
        self,
        counters: Mapping[str, Sequence[Counter]],
        every: float = EVERY,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._counters = {kind: list(own) for kind, own in counters.items() if own}
        self._joules = dict.fromkeys(self._counters, 0.0)
        self._last: dict[str, list[float]] = {}
        self._every, self._clock, self._at = every, clock, clock()
        self._done = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin, and read on in the background."""
        self._at = self._clock()
        for kind in list(self._counters):
            self._try(kind, self._begin)
        if self._counters:
            self._thread = threading.Thread(target=self._go_on, name="energy", daemon=True)
            self._thread.start()

    def stop(self) -> dict[str, float]:
        """The joules of every kind that could be read to the end."""
        self._done.set()
        if self._thread is not None:
            self._thread.join()
            self.read()
        return {kind: self._joules[kind] for kind in self._counters}

    def read(self) -> None:
        """Add what was used since the last reading."""
        now = self._clock()
        late, self._at = now - self._at > LATE, now
        for kind in list(self._counters):
            if late and any(counter.wraps is not None for counter in self._counters[kind]):
                self._leave_out(kind, "read too late")
            else:
                self._try(kind, self._add)

    def _begin(self, kind: str) -> None:
        self._last[kind] = [counter.read() for counter in self._counters[kind]]

    def _add(self, kind: str) -> None:
        counters, before = self._counters[kind], self._last[kind]
        after = [counter.read() for counter in counters]
        self._joules[kind] += sum(c.between(b, a) for c, b, a in zip(counters, before, after, strict=True))
        self._last[kind] = after

    def _try(self, kind: str, read: Callable[[str], None]) -> None:
        try:
            read(kind)
        except Exception as error:  # a driver that is gone; training goes on
            self._leave_out(kind, error)

    def _leave_out(self, kind: str, why: object) -> None:
        logger.debug("no energy of %s: %s", kind, why)
        del self._counters[kind]

    def _go_on(self) -> None:
        while not self._done.wait(self._every):
            self.read()


@contextmanager
def metered(comm: Comm, device: torch.device, into: dict[str, float], root: Path | None = None) -> Iterator[None]:
    """Add the energy of a block to a record, of all processes; nothing where the block fails.

    Args:
        comm: the processes. Each counts its own GPU, the first one of a machine its processors.
        device: of this process.
        into: `embedkit.types.RunRecord.energy`, of an earlier start of the run too.
        root: the folder of the zones; None: `POWERCAP`.
    """
    begun = time.perf_counter()
    first = os.environ.get("LOCAL_RANK", "0") == "0"
    wanted = ([PROCESSOR] if first else []) + ([GPUS] if device.type == "cuda" else [])
    meter = Meter({PROCESSOR: processors(root) if first else [], GPUS: gpus(device)})
    meter.start()
    try:
        yield
    except BaseException:
        meter.stop()
        raise
    found, seconds = meter.stop(), time.perf_counter() - begun
    now = of_all(comm.collect({kind: found.get(kind) for kind in wanted}))
    if now:
        whole = together([own for own in (dict(into), now | {SECONDS: round(seconds, 3)}) if own])
        into.clear()
        into.update(whole)


def of_all(processes: Sequence[Mapping[str, float | None]]) -> dict[str, float]:
    """The joules of all processes, by kind.

    Args:
        processes: of each, the kinds that it has something of; None where it could not be counted.
    """
    found = {}
    for kind in (PROCESSOR, GPUS):
        own = [joules[kind] for joules in processes if kind in joules]
        counted = [joules for joules in own if joules]  # counters of some virtual machines never move
        if counted and len(counted) == len(own):
            found[kind] = round(sum(counted), 3)
    return found


def together(parts: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The energy of several starts of a run, or of its stages: the kinds that all of them counted."""
    kinds = set.intersection(*(set(part) for part in parts)) if parts else set()
    if kinds <= {SECONDS}:
        return {}
    return {kind: round(sum(part[kind] for part in parts), 3) for kind in (PROCESSOR, GPUS, SECONDS) if kind in kinds}
