"""Scored candidates as positives and negatives (LLM-R, arXiv 2307.07164)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from embedkit.data.sources import LoadedSource
from embedkit.data.text import text_id
from embedkit.errors import DataError
from embedkit.recipe.score_split import ScoreSplit
from embedkit.types import Example

BLOCK = 1024


def score_split(scores: Sequence[float], positives: int, negatives: int | None) -> tuple[list[int], list[int]]:
    """Places of the best candidates, best first, and of the worst others, best first.

    No candidate is both. Of equal scores the earlier one is better.

    Args:
        scores: of the candidates of a query.
        positives: how many of the best.
        negatives: how many of the worst; None: all others.
    """
    order = np.argsort(-np.asarray(scores, np.float64), kind="stable").tolist()
    best, rest = order[:positives], order[positives:]
    return best, rest if negatives is None else rest[max(0, len(rest) - negatives) :]


@dataclass(frozen=True)
class SplitRows:
    """Examples whose candidates are split by their scores.

    Attributes:
        rows: as read.
        kept: positions there of the examples that are used.
        options: how to split.
    """

    rows: LoadedSource
    kept: list[int]
    options: ScoreSplit

    def get(self, positions: Sequence[int]) -> list[Example]:
        """The examples at `positions`."""
        return [self._split(e) for e in self.rows.get([self.kept[p] for p in positions])]

    def _split(self, example: Example) -> Example:
        texts = (*example.positives, *example.negatives)
        best, worst = score_split(example.scores, self.options.positives, self.options.negatives)
        positives = tuple(texts[i] for i in best)
        known = tuple(map(text_id, positives))
        return replace(example, positives=positives, negatives=tuple(texts[i] for i in worst), scores=(), known=known)


def split_source(source: LoadedSource, options: ScoreSplit) -> LoadedSource:
    """Rows with a teacher's scores as a source of (query, positives, negatives).

    Queries with no more candidates than positives, or with too low scores, are left out and counted.

    Raises:
        DataError: a stream, rows without a score for each candidate, or no query that is left.
    """
    if source.rows is None:
        raise DataError("candidates are split before training, and this is a stream", source.name, "remove streaming")
    kept, few, low, most, ties = [], 0, 0, 0, 0
    for start in range(0, source.rows, BLOCK):
        for place, e in enumerate(source.get(range(start, min(start + BLOCK, source.rows))), start):
            if len(e.scores) < 2:
                what = "score_split needs a score for the positive and for each negative"
                raise DataError(what, e.origin, "name the column of lists: `roles: {score: COLUMN}`")
            best, worst = score_split(e.scores, options.positives, options.negatives)
            if not worst:
                few += 1
            elif options.above is not None and e.scores[best[-1]] <= options.above:
                low += 1
            else:
                kept.append(place)
                most = max(most, len(worst))
                ties += sorted(e.scores, reverse=True)[len(best) - 1] == sorted(e.scores, reverse=True)[len(best)]
    if not kept:
        what = f"no query is left: {few} have too few candidates, {low} too low scores"
        raise DataError(what, source.name, "lower score_split.positives or score_split.above, or give more candidates")
    remarks = [
        f"{count} queries {what}"
        for count, what in (
            (few, "left out: they have no more candidates than positives"),
            (low, "left out: their scores are too low"),
            (ties, "have equal scores at the cut: the earlier candidate is the positive"),
        )
        if count
    ]
    return replace(
        source,
        roles=source.roles - {"score"},
        rows=len(kept),
        store=SplitRows(source, kept, options),
        max_negatives=most,
        remarks=[*source.remarks, *remarks],
        made={**source.made, "score_split": {"queries": len(kept), "left_out": few + low}},
    )
