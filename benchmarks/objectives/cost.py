"""What an update costs: the processor's seconds, and the memory that it takes at most."""

from __future__ import annotations

import time
from typing import Any

import torch
from transformers import TrainerCallback

WARM = 2
"""Updates before the clock counts."""


class Cost(TrainerCallback):
    """The processor's seconds of every update, and the peak of one update's memory.

    The seconds are those of the process, so that what else runs on the machine is not counted. The peak is the most
    bytes that tensors held at once beyond those held when the update began, on the CPU; that update is not timed.

    Args:
        profiled: number of the update whose memory is taken; None: of none.
    """

    def __init__(self, profiled: int | None = None) -> None:
        self.seconds: list[float] = []
        self.peak: int | None = None
        self._profiled, self._begun = profiled, 0.0
        self._profiler: Any = None

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self._profiled:
            self._profiler = torch.autograd.profiler.profile(profile_memory=True)
            self._profiler.__enter__()
        self._begun = time.process_time()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        taken = time.process_time() - self._begun
        if self._profiler is not None:
            self._profiler.__exit__(None, None, None)
            self.peak, self._profiler = peak(self._profiler), None
        elif state.global_step > WARM:
            self.seconds.append(taken)


def peak(profiler: Any) -> int:
    """The most bytes held at once during a profile, beyond those held at its start."""
    held = most = 0
    events = profiler.kineto_results.events()
    for event in sorted((e for e in events if e.name() == "[memory]"), key=lambda e: e.start_ns()):
        held += event.nbytes()
        most = max(most, held)
    return int(most)
