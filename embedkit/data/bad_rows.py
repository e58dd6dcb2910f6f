"""Rows that make no example: counted by reason, and shown with their places unless the recipe skips them."""

from __future__ import annotations

from collections import Counter

from embedkit.errors import DataError
from embedkit.inputs.cures import PLAIN, Cures
from embedkit.inputs.records import BROKEN

SHOWN = 5


class BadRows:
    """Collects bad rows, and what is odd about good ones.

    Args:
        cures: advice for errors.

    Attributes:
        counts: rows by reason.
    """

    def __init__(self, cures: Cures = PLAIN) -> None:
        self.cures = cures
        self.counts: Counter[str] = Counter()
        self._lines: Counter[str] = Counter()
        self._shown: list[str] = []
        self._notes: Counter[str] = Counter()
        self._first: dict[str, str] = {}

    def add(self, origin: str, reason: str, lines: int = 1) -> None:
        """Count the row at `origin`, which takes `lines` lines."""
        self.counts[reason] += 1
        self._lines[reason] += lines
        if len(self._shown) < SHOWN:
            self._shown.append(f"  {origin}: {_over(reason, lines, 1)}")

    def note(self, origin: str, what: str) -> None:
        """Count the good row at `origin`, about which something is odd."""
        self._notes[what] += 1
        self._first.setdefault(what, origin)

    @property
    def by_reason(self) -> dict[str, int]:
        """Bad rows by reason; a reason whose rows take more than a line each says how many lines are lost."""
        return {_over(reason, self._lines[reason], rows): rows for reason, rows in self.counts.items()}

    @property
    def remarks(self) -> list[str]:
        """What is odd about good rows, a line for each kind."""
        return [
            f"{count:,} {'row' if count == 1 else 'rows'}, first {self._first[what]}: {what}"
            for what, count in self._notes.items()
        ]

    def refuse(self, where: str, *, good: int | None = None) -> None:
        """Stop if there was any.

        Args:
            where: the source.
            good: usable rows beside them, if all rows were read.

        Raises:
            DataError: lists the first `SHOWN` with file:line and reason, and how many there are.
        """
        total = self.counts.total()
        if not total:
            return
        of = "" if good is None else f" of {good + total}"
        rows = "row" if total == 1 else "rows"
        more = [f"  ... and {total - len(self._shown)} more"] if total > len(self._shown) else []
        raise DataError(f"{total} bad {rows}{of}:", where, self.cure(), [*self._shown, *more])

    def cure(self, *, skipped: bool = False) -> str:
        """What to do about the rows; `skipped`: they were left out already."""
        cure = "mend them"
        if any(reason.startswith(BROKEN) for reason in self.counts):
            cure += f"; if the file is Latin-1 (an old export of Excel), {self.cures.encoding('latin-1')}"
        if skipped or not self.cures.skip:
            return cure
        return f"{cure}{';' if ';' in cure else ','} or {self.cures.skip} to leave them out and count them"


def _over(reason: str, lines: int, rows: int) -> str:
    return reason if lines == rows else f"{reason}, {lines:,} lines"
