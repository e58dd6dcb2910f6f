"""What a reader of a run in stages wants to know about them."""

from __future__ import annotations

from typing import Any

from embedkit.terminal.tables import Column, Grid, name_column
from embedkit.terminal.times import duration
from embedkit.types import RunRecord

HEADS = ("stage", "what", "updates", "score after", "took")


def rows(record: RunRecord) -> list[tuple[str, ...]]:
    """A line per stage in the order of `HEADS`, before them one for where the first began; none for a run without
    stages. The score is the average of the suite's main metrics."""
    if not record.stages:
        return []
    start = [("start", "untrained", "", _average(record.scores_before), "")] if record.scores_before else []
    return start + [_row(stage) for stage in record.stages]


def table(record: RunRecord) -> Grid:
    """The same for the terminal."""
    grid = Grid([name_column(HEADS[0]), Column(HEADS[1], right=False), *(Column(head) for head in HEADS[2:])])
    for row in rows(record):
        grid.add(*row)
    return grid


def _row(stage: dict[str, Any]) -> tuple[str, ...]:
    trained = stage["kind"] == "train"
    what, updates = ("trained", f"{stage['updates']:,}") if trained else ("merged", "")
    return stage["name"], what, updates, _average(stage["after"]), duration(stage["seconds"])


def _average(scores: dict[str, Any] | None) -> str:
    return "not measured" if scores is None else f"{scores['average']:.2f}"
