"""What the rows of a source hold, as far as a plan has to know."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

LOOK = 100_000
"""Rows looked at."""


@dataclass(frozen=True)
class Contents:
    """Facts about the first rows of a source.

    Attributes:
        rows: how many were looked at.
        matching: probability that of two different rows the positive of one is a known match of the other, because they
            have the same query or the same positive: that share of the in-batch negatives is masked.
        scores: smallest and largest score; None without scores.
    """

    rows: int
    matching: float
    scores: tuple[float, float] | None = None


def look(rows: Iterable[tuple[str, tuple[str, ...], tuple[float, ...]]]) -> Contents:
    """Look at the first `LOOK` rows: each a query, its positives and its scores."""
    queries: Counter[str] = Counter()
    positives: Counter[str] = Counter()
    low, high, count = float("inf"), float("-inf"), 0
    for query, matches, scores in itertools.islice(rows, LOOK):
        count += 1
        queries[query] += 1
        positives.update(set(matches))
        low, high = min((low, *scores)), max((high, *scores))
    pairs = max(1, count * (count - 1))
    matching = max(sum(c * (c - 1) for c in kind.values()) / pairs for kind in (queries, positives))
    return Contents(count, min(1.0, matching), (low, high) if low <= high else None)
