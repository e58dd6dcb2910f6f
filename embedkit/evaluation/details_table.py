"""What tasks were asked for besides their metrics, as tables: groups."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from embedkit.evaluation.grids import HINT
from embedkit.foreign.quoting import quoted
from embedkit.foreign.showing import shown
from embedkit.terminal.tables import Column, Grid, name_column
from embedkit.types import TaskScore

MOST = 30
"""Groups of a task that are shown."""


def grids(tasks: Sequence[TaskScore]) -> Iterator[Grid]:
    """A table for each task that has groups."""
    for task in tasks:
        if "groups" in task.details:
            yield _groups(task)


def _groups(task: TaskScore) -> Grid:
    found = task.details["groups"]
    title = f"{shown(task.task)} by {shown(found['column'])}: 100 x {found['metric']}"
    rows = sorted(found["rows"], key=lambda row: (row["value"] is None, row["value"]))
    made = Grid(
        [name_column("group"), Column("items", 3), Column("main", style="bold"), Column("95 % interval", 1)],
        title,
        _said(found, len(rows)),
        HINT,
    )
    for row in rows[:MOST]:
        value = "-" if row["value"] is None else f"{row['value']:.2f}"
        made.add(shown(row["name"]), f"{row['items']:,}", value, _span(row["interval"]))
    return made


def _said(found: dict[str, object], count: int) -> str:
    gap = found["gap"]
    more = f" The {MOST} lowest of {count:,} groups; scores.json holds all." if count > MOST else ""
    if not isinstance(gap, dict):
        return "Gap: fewer than two groups can be compared." + more
    between = f"{quoted(gap['best'])} to {quoted(gap['worst'])}"
    apart = f" ({_span(gap['interval'])})" if gap["interval"] else ""
    return f"Gap: {gap['value']:.2f}{apart}, {between}. Groups without an interval are too small to count.{more}"


def _span(ends: list[float] | None) -> str:
    return "" if ends is None else f"{ends[0]:.2f} .. {ends[1]:.2f}"
