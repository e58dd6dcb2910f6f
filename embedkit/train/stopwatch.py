"""Seconds of work of which a device does a part behind the program's back."""

from __future__ import annotations

import time

import torch

from embedkit.model.reading.devices import wait


class Stopwatch:
    """Adds up seconds between `start` and `stop`, the device's work of that time included and no other.

    Args:
        device: that works; it is waited for at both ends.
    """

    def __init__(self, device: torch.device) -> None:
        self._device, self._seconds = device, 0.0
        self._since: float | None = None

    def start(self) -> None:
        """Go on; nothing where it runs already."""
        if self._since is None:
            wait(self._device)
            self._since = time.perf_counter()

    def stop(self) -> None:
        """Hold on until `start`."""
        if self._since is not None:
            wait(self._device)
            self._seconds += time.perf_counter() - self._since
            self._since = None

    def take(self) -> float:
        """The seconds so far; begins anew."""
        seconds, self._seconds = self._seconds, 0.0
        return seconds
