"""What filters see and how they are put together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np

from embedkit.vectors.index.found import NONE, Found


@dataclass(frozen=True)
class Candidates:
    """Documents retrieved for q queries, best first, with what is still allowed of them.

    Attributes:
        rows: [q, k] int64 rows of the corpus; `NONE` where there is no document.
        scores: [q, k] float32 similarities to the query.
        rank: [q, k] int64 place in the unfiltered list, from 1.
        positive_score: [q] float32, the lowest similarity of the query's positives; NaN where it has none.
        keep: [q, k] bool.
        query: [q] int64 which queries these are, of all that are mined: what filters know of a query stands there.
    """

    rows: np.ndarray
    scores: np.ndarray
    rank: np.ndarray
    positive_score: np.ndarray
    keep: np.ndarray
    query: np.ndarray

    @classmethod
    def of(cls, found: Found, positive_score: np.ndarray, first: int = 0) -> Candidates:
        """All of a search's documents are allowed at first; its queries are `first` and those after it."""
        rank = np.broadcast_to(np.arange(1, found.rows.shape[1] + 1), found.rows.shape)
        positive, query = np.asarray(positive_score, np.float32), np.arange(first, first + len(found))
        return cls(found.rows, found.scores, rank, positive, found.rows != NONE, query)

    def part(self, rows: range) -> Candidates:
        """The candidates of some of the queries, by their places here."""
        own = slice(rows.start, rows.stop)
        arrays = (self.rows, self.scores, self.rank, self.positive_score, self.keep, self.query)
        return Candidates(*(array[own] for array in arrays))


class Filter(Protocol):
    """One rule."""

    @property
    def name(self) -> str:
        """As counts and recipes call it."""
        ...

    def allows(self, candidates: Candidates) -> np.ndarray:
        """[q, k] bool, by this rule alone; what it says of `NONE` does not matter."""
        ...


@runtime_checkable
class Noting(Protocol):
    """A filter that meets more than its count says.

    Attributes:
        notes: e.g. answers that could not be used, by kind.
    """

    notes: Counter[str]


def notes_of(filters: Sequence[Filter]) -> dict[str, int]:
    """What the filters noted since they were made."""
    total: Counter[str] = Counter()
    for rule in filters:
        if isinstance(rule, Noting):
            total.update(rule.notes)
    return dict(total)


def apply(filters: Sequence[Filter], candidates: Candidates) -> tuple[Candidates, dict[str, int]]:
    """Every filter after the other.

    Returns:
        The candidates, and per filter how many it removed of those that were left when its turn came.
    """
    counts: dict[str, int] = {}
    for rule in filters:
        left = candidates.keep & rule.allows(candidates)
        counts[rule.name] = counts.get(rule.name, 0) + int(candidates.keep.sum() - left.sum())
        candidates = replace(candidates, keep=left)
    return candidates, counts
