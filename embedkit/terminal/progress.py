"""Bars for what takes long. Where no one watches a terminal, a line now and then instead of a bar."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from embedkit.terminal.times import about

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

T = TypeVar("T")
PATIENCE = 2.0
"""Seconds of work that need no bar."""
EVERY = 30.0
"""Seconds between two lines where there is no terminal."""


class Bar:
    """How far a piece of work is.

    In a terminal it is a bar that appears after `PATIENCE` seconds and goes when the work is done. Elsewhere (a log, a
    pipe) a line is printed every `EVERY` seconds.

    Args:
        what: the work, e.g. ``encoding``.
        total: how many; None where no one knows.
        unit: of what, e.g. ``texts``.
        show: False shows nothing.
        console: where; stderr by default.
        clock: gives seconds.
    """

    def __init__(
        self,
        what: str,
        total: int | None,
        unit: str,
        *,
        show: bool = True,
        console: Console | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.what, self.total, self.unit, self.done, self.note = what, total, unit, 0, ""
        self._show, self._console, self._clock = show, console, clock
        self._start = self._last = clock()
        self._skipped = 0
        self._drawn: Progress | None = None
        self._task: Any = None

    def advance(self, count: int = 1, note: str = "") -> None:
        """`count` more are done.

        Args:
            count: how many.
            note: shown behind the numbers from now on.
        """
        self.done += count
        self.note = note or self.note
        if not self._show:
            return
        now = self._clock()
        if self._drawn is not None:
            rate = _words(self._rate(now - self._start))
            self._drawn.update(self._task, completed=self.done, note=self.note, rate=rate)
        elif now - self._start < PATIENCE:
            return
        elif self._where().is_terminal:
            self._draw()
        elif now - self._last >= EVERY:
            self._last = now
            self._where().print(self.line(now - self._start), markup=False, highlight=False, soft_wrap=True)

    def skip(self, count: int) -> None:
        """`count` were done before: they count, but say nothing about the rate."""
        self.done += count
        self._skipped += count

    def line(self, seconds: float) -> str:
        """``encoding: 1,200 of 5,000 texts, 40 a second, about 1.5 min left``."""
        rate = self._rate(seconds)
        text = f"{self.what}: {self.done:,}" + (f" of {self.total:,}" if self.total else "") + f" {self.unit}"
        text += f", {_words(rate)}"
        if self.total and rate and self.done < self.total:
            text += f", {about((self.total - self.done) / rate)} left"
        return text + (f", {self.note}" if self.note else "")

    def close(self) -> None:
        """The work is done, or was given up."""
        if self._drawn is not None:
            self._drawn.stop()
            self._drawn = None
        self._show = False

    def _rate(self, seconds: float) -> float:
        return (self.done - self._skipped) / max(seconds, 1e-9)

    def _where(self) -> Console:
        if self._console is None:
            from embedkit.terminal.output import console

            self._console = console(stderr=True)
        return self._console

    def _draw(self) -> None:
        from rich.errors import LiveError
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        fields = ("{task.description}", "{task.fields[rate]}", "{task.fields[note]}")
        what, rate, note = (TextColumn(text, markup=False) for text in fields)
        columns = (what, BarColumn(), MofNCompleteColumn(), rate, TimeRemainingColumn(), note)
        self._drawn = Progress(*columns, console=self._where(), transient=True)
        shown: dict[str, Any] = {"note": self.note, "rate": _words(self._rate(self._clock() - self._start))}
        self._task = self._drawn.add_task(self.what, total=self.total, completed=self.done, **shown)
        try:
            self._drawn.start()
        except LiveError:  # rich before 14.1 draws one bar at a time, and another one is there
            self._drawn, self._show = None, False


def _words(rate: float) -> str:
    return f"{rate:,.0f} a second" if rate >= 10 else f"{rate:.1f} a second"


@contextmanager
def progress(what: str, total: int | None, unit: str, *, show: bool = True) -> Iterator[Bar]:
    """A `Bar` for a ``with`` block."""
    bar = Bar(what, total, unit, show=show)
    try:
        yield bar
    finally:
        bar.close()


def watched(items: Iterable[T], what: str, unit: str, *, show: bool = True) -> Iterator[T]:
    """The items, with a `Bar` that counts them."""
    with progress(what, len(items) if isinstance(items, Sized) else None, unit, show=show) as bar:
        for item in items:
            yield item
            bar.advance()
