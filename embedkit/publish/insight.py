"""What a report shows besides scores: made once from two evaluations, kept in ``insight.json`` beside the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from embedkit.disk import files
from embedkit.errors import RecordError
from embedkit.evaluation.metrics import average_ranks, codes
from embedkit.evaluation.tasks import TaskData
from embedkit.foreign.showing import as_json
from embedkit.publish.changed import Change, changed
from embedkit.types import Scores, TaskScore

FILE = "insight.json"
FORMAT = 1
BINS = 48
POINTS = 64
"""Of a ROC curve."""


@dataclass(frozen=True)
class Side:
    """A task as one model sees it.

    Attributes:
        geometry: `embedkit.evaluation.geometry.Geometry` as plain data.
        spectrum: shares of the variance, descending.
        positive, negative: shares of the pairs of a kind in each bin of similarity.
        auc: probability that a positive pair is more similar than another pair, ties half; None without one of a kind.
        roc: share of the other pairs (`POINTS` from 0 to 1) -> share of positive pairs above the same similarity.
        cloud, kind, held, pairs: as in `embedkit.evaluation.insight`.
    """

    geometry: dict[str, float | None]
    spectrum: list[float]
    positive: list[float]
    negative: list[float]
    auc: float | None
    roc: list[float]
    cloud: list[list[float]]
    kind: list[int]
    held: list[float]
    pairs: list[list[list[float]]]


@dataclass(frozen=True)
class TaskInsight:
    """One task.

    Attributes:
        task, type, metric: its name, type and main metric.
        edges: of the bins of similarity, the same before and after.
        positives, negatives: pairs in the histograms.
        before, after: None where it was not measured.
        counts: queries or pairs that got ``better``, ``worse``, and stayed the ``same``; empty without both sides.
        better, worse: those that changed most.
    """

    task: str
    type: str
    metric: str
    edges: list[float]
    positives: int
    negatives: int
    before: Side | None
    after: Side | None
    counts: dict[str, int] = field(default_factory=dict)
    better: list[Change] = field(default_factory=list)
    worse: list[Change] = field(default_factory=list)


@dataclass(frozen=True)
class Lengths:
    """Tokens of the texts of one role.

    Attributes:
        where: data source or task.
        role: of the texts.
        texts: how many were looked at.
        median, long, longest: tokens without a cut; of `long` one text in twenty has more.
        limit: tokens that are kept; None: all.
        cut: share of the texts that lose some.
    """

    where: str
    role: str
    texts: int
    median: int
    long: int
    longest: int
    limit: int | None
    cut: float


@dataclass(frozen=True)
class Insight:
    """What ``insight.json`` holds."""

    tasks: list[TaskInsight] = field(default_factory=list)
    lengths: list[Lengths] = field(default_factory=list)
    format: int = FORMAT


def gather(
    before: Scores | None, after: Scores | None, data: Sequence[TaskData], lengths: Sequence[Lengths] = ()
) -> Insight:
    """From evaluations that were made with `insight`; a task without it is left out.

    Args:
        before, after: of one suite; at least one.
        data: of its tasks.
        lengths: of texts.
    """
    tasks = []
    for i, own in enumerate(data if before or after else ()):
        old, new = (None if scores is None else scores.tasks[i] for scores in (before, after))
        old, new = (None if task is None or not task.insight else task for task in (old, new))
        if old or new:
            tasks.append(_task(old, new, own))
    return Insight(tasks, list(lengths))


def write_insight(folder: Path, insight: Insight) -> None:
    """Write ``insight.json`` into a run's folder.

    Raises:
        WriteError: it cannot be written.
    """
    files.write_text(folder / FILE, as_json(asdict(insight), indent=None) + "\n")


def read_insight(folder: Path) -> Insight:
    """What a run's folder has; empty without a file.

    Raises:
        RecordError: it is damaged, or of another version.
    """
    from pydantic import TypeAdapter, ValidationError

    path = folder / FILE
    cure = "move the file away: the report is made without it"
    try:
        found = TypeAdapter(Insight).validate_json(path.read_bytes())
    except FileNotFoundError:
        return Insight()
    except OSError as error:
        raise RecordError(f"cannot be read: {error.strerror}", str(path), cure) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise RecordError(f"is damaged: {where}: {first['msg']}", str(path), cure) from error
    if found.format != FORMAT:
        raise RecordError(f"is of another version: format {found.format}, known is {FORMAT}", str(path), cure)
    return found


def insight_of(plain: Any) -> Insight:
    """An `Insight` out of plain data that came from one."""
    from pydantic import TypeAdapter

    return TypeAdapter(Insight).validate_python(plain)


def _task(before: TaskScore | None, after: TaskScore | None, data: TaskData) -> TaskInsight:
    one = after or before
    assert one is not None
    sides = [task.insight for task in (before, after) if task is not None]
    values = np.concatenate([side[kind] for side in sides for kind in ("positive", "negative")])
    low, high = float(values.min(initial=1.0)), float(values.max(initial=0.0))
    edges = np.linspace(low, high if high > low else low + 1e-3, BINS + 1)
    turn = _turn(*[side["cloud"] for side in sides]) if len(sides) > 1 else np.eye(2)
    counts, better, worse = changed(before, after, data) if before and after else ({}, [], [])
    return TaskInsight(
        task=one.task,
        type=one.type,
        metric=one.main,
        edges=_rounded(edges),
        positives=len(one.insight["positive"]),
        negatives=len(one.insight["negative"]),
        before=None if before is None else _side(before, edges, np.eye(2)),
        after=None if after is None else _side(after, edges, turn),
        counts=counts,
        better=better,
        worse=worse,
    )


def _side(task: TaskScore, edges: np.ndarray, turn: np.ndarray) -> Side:
    arrays = task.insight
    positive, negative = arrays["positive"], arrays["negative"]
    both = len(positive) > 0 and len(negative) > 0
    return Side(
        geometry=task.details["geometry"],
        spectrum=_rounded(arrays["spectrum"], 8),
        positive=_rounded(np.histogram(positive, edges)[0] / max(1, len(positive))),
        negative=_rounded(np.histogram(negative, edges)[0] / max(1, len(negative))),
        auc=auc(positive, negative) if both else None,
        roc=_rounded(roc(positive, negative)) if both else [],
        cloud=_rounded(arrays["cloud"] @ turn),
        kind=arrays["kind"].tolist(),
        held=_rounded(arrays["held"]),
        pairs=_rounded(arrays["pairs"] @ turn),
    )


def auc(positive: np.ndarray, negative: np.ndarray) -> float:
    """Probability that a positive pair is more similar than a negative one, ties half (Mann-Whitney)."""
    ranks = average_ranks(codes(np.concatenate([positive, negative])))
    p, n = len(positive), len(negative)
    return float((ranks[:p].sum() - p * (p + 1) / 2) / (p * n))


def roc(positive: np.ndarray, negative: np.ndarray) -> np.ndarray:
    """True positive rates at `POINTS` false positive rates evenly from 0 to 1, ties on a straight line."""
    values, place = np.unique(np.concatenate([positive, negative]), return_inverse=True)
    is_positive = np.arange(len(place)) < len(positive)
    hits, misses = (np.bincount(place[kind], minlength=len(values))[::-1] for kind in (is_positive, ~is_positive))
    true = np.concatenate([[0], np.cumsum(hits)]) / len(positive)
    false = np.concatenate([[0], np.cumsum(misses)]) / len(negative)
    grid = np.linspace(0, 1, POINTS)
    at = np.searchsorted(false, grid, side="right") - 1  # the upper end where the curve rises straight up
    then = np.minimum(at + 1, len(false) - 1)
    way = (grid - false[at]) / np.maximum(false[then] - false[at], 1e-300)
    return np.asarray(true[at] + way * (true[then] - true[at]))


def _turn(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """The rotation or reflection [2, 2] that lays the map after over the map before; directions have no sign."""
    u, _, v = np.linalg.svd(after.T.astype(np.float64) @ before)
    return np.asarray(u @ v)


def _rounded(values: np.ndarray, digits: int = 5) -> Any:
    return np.round(values.astype(np.float64), digits).tolist()
