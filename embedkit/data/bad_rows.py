"""Rows that make no example: counted by reason, and shown with their places unless the recipe skips them."""

from __future__ import annotations

from collections import Counter

from embedkit.errors import DataError

SHOWN = 5


class BadRows:
    """Collects bad rows.

    Attributes:
        counts: rows by reason.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._shown: list[str] = []

    def add(self, origin: str, reason: str) -> None:
        """Count the row at `origin`."""
        self.counts[reason] += 1
        if len(self._shown) < SHOWN:
            self._shown.append(f"  {origin}: {reason}")

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
        more = f"\n  ... and {total - len(self._shown)} more" if total > len(self._shown) else ""
        raise DataError(
            f"{total} bad {rows}{of}:\n" + "\n".join(self._shown) + more,
            where,
            "mend them, or set `on_bad_row: skip` to leave them out and count them",
        )
