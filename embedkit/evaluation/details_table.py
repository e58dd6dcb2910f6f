"""What tasks were asked for besides their metrics, as tables: groups, collapse, penalties, texts changed by rule."""

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
    """A table for each task that has groups, and one of all tasks for each other thing."""
    for task in tasks:
        if "groups" in task.details:
            yield _groups(task)
    if split := [task for task in tasks if "class_collapse" in task.details]:
        yield _collapse(split)
    if pushed := [task for task in tasks if task.details.get("penalty")]:
        yield _penalty(pushed)
    if changed := [task for task in tasks if "perturbed" in task.details]:
        yield _perturbed(changed)
    if sparse := [task for task in tasks if "sparsity" in task.details]:
        yield _sparsity(sparse)


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


def _collapse(tasks: Sequence[TaskScore]) -> Grid:
    made = Grid(
        [
            name_column("task"),
            Column("within classes", 2),
            Column("of it by subclass", 1, style="bold"),
            Column("within / between", 3),
        ],
        "Class collapse: how the variance of the unit embeddings is split",
        "Within classes: its share of the whole. Of it by subclass: what of that tells subclasses apart, near 0 where "
        "they have collapsed into their class; compare two models on the same texts.",
        HINT,
    )
    for task in tasks:
        found = task.details["class_collapse"]
        names = ("within_class_share", "subclass_share_of_within", "within_over_between")
        made.add(shown(task.task), *("-" if found[name] is None else f"{found[name]:.3f}" for name in names))
    return made


def _penalty(tasks: Sequence[TaskScore]) -> Grid:
    made = Grid(
        [
            name_column("task"),
            Column("temperature", 1),
            Column("pushed", 2),
            Column("of", 3),
            Column("push", style="bold"),
        ],
        "What a contrastive loss would do to the positive pairs, by its temperature",
        "Pushed: among how many of the negatives a row's push is shared (exp of the mean entropy). Push: mean of 1 - p "
        "of the positive; near 0 there is nothing left to learn from these negatives.",
        HINT,
    )
    for task in tasks:
        for own in task.details["penalty"]:
            at = f"{own['temperature']:g}"
            made.add(shown(task.task), at, f"{own['pushed']:.1f}", f"{own['negatives']:,}", f"{own['push']:.3f}")
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


def _sparsity(tasks: Sequence[TaskScore]) -> Grid:
    made = Grid(
        [
            name_column("task"),
            Column("active per query", 1),
            Column("per document", 2),
            Column("of", 3),
            Column("FLOPS", style="bold"),
        ],
        "Sparse embeddings: coordinates that are not 0",
        "FLOPS: products that one document costs for one query in an inverted index, on average: the sum over "
        "coordinates of the shares of queries and of documents in which it is not 0.",
        HINT,
    )
    for task in tasks:
        found = task.details["sparsity"]
        active = (f"{found[f'active_{side}']:,.1f}" for side in ("query", "document"))
        made.add(shown(task.task), *active, f"{found['dim']:,}", f"{found['flops']:,.2f}")
    return made


def _said(found: dict[str, object], count: int) -> str:
    gap = found["gap"]
    more = f" The {MOST} lowest of {count:,} groups; scores.json holds all." if count > MOST else ""
    mean = found.get("mean")
    more = (f" Mean of the groups: {mean:.2f}." if isinstance(mean, float) else "") + more
    if not isinstance(gap, dict):
        return "Gap: fewer than two groups can be compared." + more
    between = f"{quoted(gap['best'])} to {quoted(gap['worst'])}"
    apart = f" ({_span(gap['interval'])})" if gap["interval"] else ""
    return f"Gap: {gap['value']:.2f}{apart}, {between}. Groups without an interval are too small to count.{more}"


def _span(ends: list[float] | None) -> str:
    return "" if ends is None else f"{ends[0]:.2f} .. {ends[1]:.2f}"
