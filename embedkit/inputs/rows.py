"""What a file gives row by row: fields, and records under their column names."""

from __future__ import annotations

from typing import Any, NamedTuple


class Fields(NamedTuple):
    """The fields of one row in order, or the reason why it has none; otherwise as `Record`."""

    line: int
    values: list[str] | None
    reason: str = ""
    lines: int = 1
    note: str = ""


class Record(NamedTuple):
    """One row of a file.

    Attributes:
        line: the number of its first line.
        values: by column, or None.
        reason: why it has no values.
        lines: how many it takes.
        note: what is odd about it, though it can be read.
    """

    line: int
    values: dict[str, Any] | None
    reason: str = ""
    lines: int = 1
    note: str = ""
