"""What tasks were asked for besides their metrics, as tables: groups, and texts changed by rule."""

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
    """A table for each task that has groups, and one of all tasks whose texts were changed."""
    for task in tasks:
        if "groups" in task.details:
            yield _groups(task)
    if changed := [task for task in tasks if "perturbed" in task.details]:
        yield _perturbed(changed)


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


def _perturbed(tasks: Sequence[TaskScore]) -> Grid:
    made = Grid(
        [
            name_column("task"),
            Column("changed by", 2, right=False),
            Column("main", 3, style="bold"),
            Column("drop"),
            Column("95 % interval", 1),
            Column("of it", 4),
            Column("texts", 5),
        ],
        "Texts changed by rule: 100 x the main metric",
        "Drop: in points, and of it, in per cent. Typing errors and case leave the meaning as it is; word order and "
        "negation change it, and a score that stays has not read them.",
        HINT,
    )
    for task in tasks:
        for rule, own in task.details["perturbed"].items():
            share = "-" if own["relative"] is None else f"{own['relative']:+.1f}"
            texts = f"{own['changed']:,} of {own['items']:,}"
            drop = f"{own['drop']:+.2f}"
            made.add(shown(task.task), rule, f"{own['value']:.2f}", drop, _span(own["interval"]), share, texts)
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
