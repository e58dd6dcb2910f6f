"""What is lost when embeddings are stored in fewer bytes, as a table for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from embedkit.evaluation.compare import AVERAGE, Comparison
from embedkit.evaluation.stored import FACTOR
from embedkit.terminal.tables import Column, Grid, name_column
from embedkit.types import Scores

_WORDS = {"win": "better", "loss": "worse", "tie": "unclear"}
_STYLES = {"win": "green", "loss": "red", "tie": "dim"}


@dataclass(frozen=True)
class Lost:
    """A model measured with stored embeddings.

    Attributes:
        scores: with them.
        comparison: with them less with the model's own, per task and on average.
    """

    scores: Scores
    comparison: Sequence[Comparison]

    @property
    def stored(self) -> dict[str, Any]:
        """`embedkit.evaluation.stored.Stored.details` of the first task."""
        found: dict[str, Any] = self.scores.tasks[0].details["stored"]
        return found

    def plain(self) -> dict[str, Any]:
        """JSON-ready data."""
        tasks = {task.task: {**task.details["stored"], "metrics": task.metrics} for task in self.scores.tasks}
        return {
            "form": self.stored["form"],
            "bytes": self.stored["bytes"],
            "tasks": tasks,
            "comparison": [asdict(one) for one in self.comparison],
        }


def table(found: Sequence[Lost]) -> Grid:
    """A row for each form and task: bytes of an embedding, the score, and the difference with its paired interval."""
    columns = [
        name_column("embeddings"),
        Column("bytes"),
        name_column("task", 1),
        Column("metric", 4, right=False),
        Column("score", style="bold"),
        Column("change"),
        Column("95 % interval", 2),
        Column("verdict", 3, right=False),
    ]
    grid = Grid(columns, "Embeddings in fewer bytes, same resamples", _note(found))
    width = found[0].stored["width"]
    for one in found[0].comparison:
        grid.add("float32", f"{4 * width:,}", one.task, one.metric, f"{one.before:.2f}", "", "", "")
    for lost in found:
        for one in lost.comparison:
            span = f"{one.difference.low:+.2f} .. {one.difference.high:+.2f}" if one.difference.level < 1 else "-"
            bold = "bold " if one.task == AVERAGE else ""
            grid.add(
                *(lost.stored["form"], f"{lost.stored['bytes']:,}", one.task, one.metric),
                *(f"{one.after:.2f}", f"{one.difference.value:+.2f}", span, _WORDS[one.verdict]),
                style=bold + _STYLES[one.verdict],
            )
    return grid


def _note(found: Sequence[Lost]) -> str:
    told = ["bytes: of one embedding, without an index."]
    stored = [task.details["stored"] for lost in found for task in lost.scores.tasks]
    if any("calibrated" in one for one in stored):
        told.append("int8: ranges of the texts that are stored, of retrieval the corpus.")
    counts = sorted({one["candidates"] for one in stored if "candidates" in one})
    if counts:
        words = " or ".join(map(str, counts))
        told.append(
            f"binary: {words} candidates by Hamming distance ({FACTOR} for each result), the float query orders them."
        )
    return " ".join(told)
