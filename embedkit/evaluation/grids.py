"""Tables of tasks: a row for each, columns that are empty throughout left out."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.text import Text

from embedkit.terminal.tables import Column, Grid
from embedkit.types import Interval, TaskScore

HINT = "with --out, scores.json holds them"
Cell = Callable[[TaskScore], "str | Text"]


def grid(title: str, tasks: Sequence[TaskScore], columns: Sequence[tuple[Column, Cell]], note: str = "") -> Grid:
    """A row per task; a column whose cells are all empty is left out."""
    cells = [[cell(task) for task in tasks] for _, cell in columns]
    used = [i for i, column in enumerate(cells) if any(map(len, column))]
    made = Grid([columns[i][0] for i in used], title, note, HINT)
    for row in zip(*(cells[i] for i in used), strict=True):
        made.add(*row)
    return made


def span(interval: Interval | None) -> str:
    """``low .. high``."""
    return "" if interval is None else f"{interval.low:.2f} .. {interval.high:.2f}"
