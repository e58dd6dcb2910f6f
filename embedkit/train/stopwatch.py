"""Seconds of work of which a device does a part behind the program's back."""

from __future__ import annotations

import time
from collections import deque

import torch

from embedkit.model.reading.devices import wait


class _Moment:
    """When a device has done its work, which the program waits for; asked as torch's events are."""

    def __init__(self, device: torch.device) -> None:
        wait(device)
        self._at = time.perf_counter()

    def query(self) -> bool:
        return True

    def synchronize(self) -> None:
        pass

    def elapsed_time(self, end: _Moment) -> float:
        return 1e3 * (end._at - self._at)


class Stopwatch:
    """Adds up seconds between `start` and `stop`, the device's work of that time included and no other.

    A GPU keeps the time itself, by marks in its queue of work, and is not waited for; other devices are, at both ends.

    Args:
        device: that works.
    """

    def __init__(self, device: torch.device) -> None:
        self._device, self._seconds = device, 0.0
        self._since: torch.cuda.Event | _Moment | None = None
        self._spans: deque[tuple[torch.cuda.Event | _Moment, torch.cuda.Event | _Moment]] = deque()

    def start(self) -> None:
        """Go on; nothing where it runs already."""
        if self._since is None:
            self._since = self._mark()
            while self._spans and self._spans[0][1].query():
                self._add()

    def stop(self) -> None:
        """Hold on until `start`."""
        if self._since is not None:
            self._spans.append((self._since, self._mark()))
            self._since = None

    def take(self) -> float:
        """The seconds so far; begins anew."""
        while self._spans:
            self._spans[0][1].synchronize()
            self._add()
        seconds, self._seconds = self._seconds, 0.0
        return seconds

    def _mark(self) -> torch.cuda.Event | _Moment:
        if self._device.type != "cuda":
            return _Moment(self._device)
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self._device))
        return event

    def _add(self) -> None:
        start, end = self._spans.popleft()
        self._seconds += start.elapsed_time(end) / 1e3  # type: ignore[arg-type]  # both are of one device
