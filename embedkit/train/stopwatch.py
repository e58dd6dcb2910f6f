"""Seconds of work of which a device does a part behind the program's back."""

from __future__ import annotations

import time
from collections import deque

import torch

from embedkit.model.reading.devices import wait


class Stopwatch:
    """Adds up seconds between `start` and `stop`, the device's work of that time included and no other.

    A GPU keeps the time itself, by marks in its queue of work, so that the program need not wait for it.

    Args:
        device: that works.
    """

    def __init__(self, device: torch.device) -> None:
        self._device, self._seconds = device, 0.0
        self._since: float | torch.cuda.Event | None = None
        self._spans: deque[tuple[torch.cuda.Event, torch.cuda.Event]] = deque()

    def start(self) -> None:
        """Go on; nothing where it runs already."""
        if self._since is None:
            self._since = self._mark()
            while self._spans and self._spans[0][1].query():
                self._add()

    def stop(self) -> None:
        """Hold on until `start`."""
        since, self._since = self._since, None
        if isinstance(since, torch.cuda.Event):
            end = self._mark()
            assert isinstance(end, torch.cuda.Event)
            self._spans.append((since, end))
        elif since is not None:
            now = self._mark()
            assert isinstance(now, float)
            self._seconds += now - since

    def take(self) -> float:
        """The seconds so far; begins anew."""
        while self._spans:
            self._spans[0][1].synchronize()
            self._add()
        seconds, self._seconds = self._seconds, 0.0
        return seconds

    def _mark(self) -> float | torch.cuda.Event:
        if self._device.type == "cuda":
            event = torch.cuda.Event(enable_timing=True)
            event.record(torch.cuda.current_stream(self._device))
            return event
        wait(self._device)
        return time.perf_counter()

    def _add(self) -> None:
        start, end = self._spans.popleft()
        self._seconds += start.elapsed_time(end) / 1e3
