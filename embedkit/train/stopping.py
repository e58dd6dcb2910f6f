"""Stopped by the system: batch schedulers send a signal before they end a job, and the run leaves a checkpoint."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP", "SIGUSR1") if hasattr(signal, name))
"""SIGTERM: the end is near. SIGUSR1: sent some time before it, where a job asks for that. SIGHUP: the terminal left."""
ECHO_SECONDS = 2.0
"""Under a launcher a scheduler reaches it, and it passes the signal on, and the process itself too."""
PASSED_ON = "EMBEDKIT_SIGNALS_PASSED_ON"
"""Set in processes whose launcher passes signals on, as torchrun's own variable says of its."""


class Stopped(KeyboardInterrupt):
    """The system asked the run to stop; a `KeyboardInterrupt` of another origin, so that no error handling takes it for
    a failure.

    Attributes:
        signal: which signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.signal = signal.Signals(number).name


class Stopping:
    """Listens to the system's signals while it is entered.

    Outside of `later` the first one raises `Stopped` where the program is. Within `later` it is noted in `asked`, for
    the program to stop where nothing is lost; `at_once` is the exception from that. A second SIGTERM ends the process
    without more ado. Signals that are ignored (``nohup``) or that somebody handles already are left alone, and so are
    all of them outside of the main thread, where Python cannot listen.

    Attributes:
        asked: the signal that came, None before.
    """

    def __init__(self) -> None:
        self.asked: int | None = None
        self._since = 0.0
        self._later = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Stopping:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                if signal.getsignal(number) is signal.SIG_DFL:
                    self._before[number] = signal.signal(number, self._came)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    @contextmanager
    def later(self) -> Iterator[None]:
        """What is within goes on after a signal; it looks at `asked` itself."""
        yield from self._deferred(True)

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """What is within ends with `Stopped` at a signal, also inside of `later`."""
        yield from self._deferred(False)

    def _deferred(self, later: bool) -> Iterator[None]:
        before, self._later = self._later, later
        try:
            if not later and self.asked is not None:
                raise Stopped(self.asked)
            yield
        finally:
            self._later = before

    def _came(self, number: int, frame: FrameType | None) -> None:
        if self.asked is None:
            self.asked, self._since = number, time.monotonic()
            if not self._later:
                raise Stopped(number)
            name = signal.Signals(number).name
            _tell(f"\n{name}: stopping after this update, with a checkpoint; SIGTERM once more ends it at once\n")
        elif number == signal.SIGTERM and not self._echo():
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    def _echo(self) -> bool:
        launched = "TORCHELASTIC_RUN_ID" in os.environ or PASSED_ON in os.environ
        return launched and time.monotonic() - self._since < ECHO_SECONDS


class PassingOn(Stopping):
    """Gives the system's signals to the processes that do the work, and lets this one wait for them.

    Args:
        to: the ids of those processes now.
    """

    def __init__(self, to: Callable[[], Iterable[int]]) -> None:
        super().__init__()
        self._to = to

    def _came(self, number: int, frame: FrameType | None) -> None:
        self.asked = self.asked or number
        for process in self._to():
            with suppress(ProcessLookupError):
                os.kill(process, number)


def _tell(text: str) -> None:
    """Write to the terminal from within a signal handler, where the program may be in the middle of a print."""
    if os.environ.get("RANK", "0") == "0":
        os.write(2, text.encode())
