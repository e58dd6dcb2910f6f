"""Documents that may answer a query though nobody says so: they score as high as its positive."""

from __future__ import annotations

import heapq
from collections import Counter
from dataclasses import dataclass
from typing import Literal

import numpy as np

from embedkit.mining.filters.base import Candidates
from embedkit.mining.problem import Problem
from embedkit.vectors.index.found import NONE

Fate = Literal["negative", "not chosen", "filtered"]
MOST = 20


@dataclass(frozen=True, order=True)
class Suspect:
    """A document that scores at least as high as the lowest positive of a query, and is none of its positives.

    Attributes:
        lead: by how much its similarity is above the positive's.
        query, row: which query and which document.
        score, positive_score: similarities to the query.
        rank: among the retrieved, from 1.
        fate: ``negative``: it became one; ``not chosen``: it passed all filters; ``filtered``: one took it out.
    """

    lead: float
    query: int
    row: int
    score: float
    positive_score: float
    rank: int
    fate: Fate


class Suspects:
    """Collects the suspects of a search: pass it to `Miner.mine` as ``seen``.

    Args:
        problem: queries and documents.
        most: how many are kept of those that became negatives, and as many of the others: the largest leads, one a
            query.

    Attributes:
        counts: all of them by what became of them; of texts that repeat, each.
    """

    def __init__(self, problem: Problem, most: int = MOST) -> None:
        self.counts: Counter[str] = Counter()
        self._problem, self._most = problem, most
        self._kept: dict[bool, list[Suspect]] = {True: [], False: []}

    def __call__(self, candidates: Candidates, places: np.ndarray) -> None:
        """A block of filtered candidates, and the places chosen of it."""
        positive = candidates.positive_score[:, None]
        with np.errstate(invalid="ignore"):
            high = (candidates.rows != NONE) & (candidates.scores >= positive)
        chosen = np.zeros(high.shape, bool)
        owner, place = np.nonzero(places != NONE)
        chosen[owner, places[owner, place]] = True
        for i in np.flatnonzero(high.any(axis=1)).tolist():
            query = int(candidates.query[i])
            at = np.flatnonzero(high[i])
            ids = self._problem.text_ids[candidates.rows[i, at]]
            at = at[~np.isin(ids, self._problem.known[query])]
            fates: list[Fate] = [
                "negative" if chosen[i, j] else "not chosen" if candidates.keep[i, j] else "filtered" for j in at
            ]
            self.counts.update(fates)
            first = {fate == "negative": (j, fate) for j, fate in zip(at[::-1].tolist(), fates[::-1], strict=True)}
            for j, fate in first.values():  # lists are best first
                self._keep(candidates, i, j, fate)

    @property
    def worst(self) -> list[Suspect]:
        """Those that were kept: first what became a negative, each part with the largest lead first."""
        return [suspect for part in (True, False) for suspect in sorted(self._kept[part], reverse=True)]

    def _keep(self, candidates: Candidates, i: int, j: int, fate: Fate) -> None:
        kept = self._kept[fate == "negative"]
        score, positive = float(candidates.scores[i, j]), float(candidates.positive_score[i])
        row, rank = int(candidates.rows[i, j]), int(candidates.rank[i, j])
        found = Suspect(score - positive, int(candidates.query[i]), row, score, positive, rank, fate)
        if len(kept) < self._most:
            heapq.heappush(kept, found)
        else:
            heapq.heappushpop(kept, found)
