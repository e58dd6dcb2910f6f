"""What the figures of a report mean, a sentence each; and the tables that are made of them."""

from __future__ import annotations

from dataclasses import dataclass

from embedkit.publish.changed import Change
from embedkit.publish.insight import Insight, TaskInsight

MEASURES = {
    "alignment": ("alignment", "mean squared distance of positive pairs; small: close"),
    "tolerance": ("tolerance", "mean cosine of texts that mean the same; near 1: close"),
    "uniformity": ("uniformity", "log of the mean of exp(-2 distance²); small: spread evenly"),
    "mean_cosine": ("mean cosine", "of any two texts, the anisotropy; near 0: spread evenly"),
    "first_direction": ("first direction", "share of the second moment that one direction holds"),
    "hubness": ("hubness", "skewness of how often a text is a near neighbour; 0: none is near to many"),
    "rankme": ("RankMe", "directions in use, by the entropy of singular values; large: many"),
    "effective_rank": ("effective rank", "the same of the variances around the mean"),
}
"""What a report calls the measures of `embedkit.evaluation.geometry`, and what they say."""
_COUNTS = ("rankme", "effective_rank")


@dataclass(frozen=True)
class Moved:
    """A `Change` in words.

    Attributes:
        head: what moved, from where to where.
        texts: (what it is, the text).
    """

    head: str
    texts: list[tuple[str, str]]


def geometry_rows(task: TaskInsight) -> list[tuple[str, str, str, str]]:
    """(measure, what it says, before, after) of what was measured."""
    rows = []
    for name, (title, says) in MEASURES.items():
        values = [None if side is None else side.geometry.get(name) for side in (task.before, task.after)]
        if any(value is not None for value in values):
            before, after = ("—" if v is None else f"{v:.1f}" if name in _COUNTS else f"{v:.3f}" for v in values)
            rows.append((title, says, before, after))
    return rows


def taken_over(task: TaskInsight) -> str:
    """How many texts and pairs the geometry is of."""
    side = task.after or task.before
    found = {} if side is None else side.geometry
    texts, pairs, dim = (int(found.get(name) or 0) for name in ("texts", "positives", "dim"))
    return f"{texts:,} texts, {pairs:,} positive pairs, {dim:,} dimensions"


def counted(task: TaskInsight) -> str:
    """How many queries or pairs changed, and by what that is decided."""
    better, worse, same = (task.counts.get(name, 0) for name in ("better", "worse", "same"))
    what, by = ("pairs", "nearer to their grade's rank") if task.type == "sts" else ("queries", f"by {task.metric}")
    return f"{better:,} {what} better, {worse:,} worse, {same:,} the same ({by})"


def moved(change: Change) -> Moved:
    """A change in words."""
    ranks = f"rank {_rank(change.before)} → {_rank(change.after)} of {change.of:,}"
    if change.gold is not None:
        head = f"{ranks}; by its grade {change.grade:g} it is {_rank(change.gold)}"
        return Moved(head, [("first", change.first), ("second", change.second)])
    texts = [("query", change.first), ("relevant", change.second)]
    if change.rival:
        texts.append(("stood on top before" if change.gain > 0 else "stands on top now", change.rival))
    return Moved(ranks, texts)


def length_rows(insight: Insight) -> list[tuple[str, str, str, str, str, str, str, str]]:
    """(source or task, role, texts, median, 95 %, longest, kept, cut) of every kind of text."""
    return [
        (
            own.where,
            own.role,
            f"{own.texts:,}",
            f"{own.median:,}",
            f"{own.long:,}",
            f"{own.longest:,}",
            "all" if own.limit is None else f"{own.limit:,}",
            f"{own.cut:.1%}",
        )
        for own in insight.lengths
    ]


LENGTH_HEADS = ("texts of", "role", "looked at", "median", "95 %", "longest", "kept", "cut")


def _rank(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else f"{value:,.1f}"
