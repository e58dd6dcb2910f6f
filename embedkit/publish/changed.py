"""What changed from one model to another: the queries, or the graded pairs, that got better and worse, with texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from embedkit.evaluation.loading import StsData
from embedkit.evaluation.metrics import average_ranks, codes, split
from embedkit.evaluation.tasks import TaskData
from embedkit.foreign.showing import shown
from embedkit.types import RetrievalData, TaskScore

MOST = 4
"""Of each kind."""
LONGEST = 320
"""Characters of a text."""
LEVEL = 1e-9
Found = tuple[dict[str, int], "list[Change]", "list[Change]"]
"""Counts of ``better``, ``worse`` and ``same``; the best and the worst changes."""


@dataclass(frozen=True)
class Change:
    """One query, or one graded pair.

    Attributes:
        first: the query; the first sentence.
        second: its relevant document that stands first after (where it got better) or stood first before (worse); the
            second sentence.
        before, after: rank of the query's first relevant document; rank of the pair by similarity. From 1, average
            ranks of equal pairs.
        of: documents, or pairs, that are ranked.
        gold: the pair's rank by its grade; None for a query.
        grade: the pair's grade; None for a query.
        rival: the document that stood above it before (better) or stands above it after (worse), if one does.
        gain: change of the query's main metric, in points; by how many ranks the pair came nearer to its grade's.
    """

    first: str
    second: str
    before: float
    after: float
    of: int
    gold: float | None
    grade: float | None
    rival: str
    gain: float


def changed(before: TaskScore, after: TaskScore, data: TaskData) -> Found:
    """How many got better and worse, and those that changed most, the largest change first.

    A query is better when its main metric is larger; of those with equal changes the one whose first relevant document
    rose by the larger factor comes first. A pair is better when its rank by similarity came nearer to its rank by
    grade, within its subset where the task's correlation is taken within subsets.

    Nothing is found of a task of another type.
    """
    if isinstance(data, StsData):
        return _pairs(before, after, data)
    if isinstance(data, RetrievalData) and "rank" in before.insight and "rank" in after.insight:
        return _queries(before, after, data)
    return {}, [], []


def _queries(before: TaskScore, after: TaskScore, data: RetrievalData) -> Found:
    gain = 100 * (after.units[after.main] - before.units[before.main])
    old, new = before.insight, after.insight
    rise = np.log(old["rank"]) - np.log(new["rank"])
    queries, documents = list(data.queries.values()), list(data.corpus.values())

    def change(i: int) -> Change:
        good, bad = (new, old) if gain[i] > 0 else (old, new)
        rival = int(bad["top"][i])
        return Change(
            first=_text(queries[i]),
            second=_text(documents[int(good["first"][i])]),
            before=float(old["rank"][i]),
            after=float(new["rank"][i]),
            of=len(documents),
            gold=None,
            grade=None,
            rival=_text(documents[rival]) if bad["rank"][i] > 1 else "",
            gain=round(float(gain[i]), 2),
        )

    best, worst = _most(gain, rise)
    return _counts(gain), [change(i) for i in best], [change(i) for i in worst]


def _pairs(before: TaskScore, after: TaskScore, data: StsData) -> Found:
    whole = after.details.get("aggregate") == "all" or len(data.subsets) < 2
    parts = [np.arange(len(data.gold))] if whole else split(data.subset)
    ranks = {
        name: _ranks(values, parts)
        for name, values in (("before", before.units["cosine"]), ("after", after.units["cosine"]), ("gold", data.gold))
    }
    size = np.empty(len(data.gold), np.int64)
    for part in parts:
        size[part] = len(part)
    gain = np.abs(ranks["before"] - ranks["gold"]) - np.abs(ranks["after"] - ranks["gold"])

    def change(i: int) -> Change:
        return Change(
            first=_text(data.first[i]),
            second=_text(data.second[i]),
            before=float(ranks["before"][i]),
            after=float(ranks["after"][i]),
            of=int(size[i]),
            gold=float(ranks["gold"][i]),
            grade=float(data.gold[i]),
            rival="",
            gain=float(gain[i]),
        )

    best, worst = _most(gain / size, gain)
    return _counts(gain), [change(i) for i in best], [change(i) for i in worst]


def _ranks(values: np.ndarray, parts: Sequence[np.ndarray]) -> np.ndarray:
    """[n] average ranks within each part, the largest value first."""
    found = np.empty(len(values))
    for part in parts:
        found[part] = average_ranks(codes(-values[part]))
    return found


def _most(gain: np.ndarray, then: np.ndarray) -> tuple[list[int], list[int]]:
    """Places of the largest gains and of the largest losses."""
    order = np.lexsort((then, np.round(gain, 6)))
    worst = [int(i) for i in order[:MOST] if gain[i] < -LEVEL]
    best = [int(i) for i in order[::-1][:MOST] if gain[i] > LEVEL]
    return best, worst


def _counts(gain: np.ndarray) -> dict[str, int]:
    better, worse = int((gain > LEVEL).sum()), int((gain < -LEVEL).sum())
    return {"better": better, "worse": worse, "same": len(gain) - better - worse}


def _text(text: str) -> str:
    return shown(" ".join(text.split()), most=LONGEST)
