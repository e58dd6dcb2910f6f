"""Rules on ranks and on similarities, alone and against the positive's (NV-Retriever, arXiv 2407.15831)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from embedkit.errors import RecipeError
from embedkit.mining.filters.base import Candidates


@dataclass(frozen=True)
class RankWindow:
    """Keeps ranks `first` to `last` of the unfiltered list, both included, from 1 (KaLM: 50 to 100).

    Raises:
        RecipeError: the window is empty or begins below 1.
    """

    first: int = 1
    last: int | None = None
    name = "rank window"

    def __post_init__(self) -> None:
        if self.first < 1 or (self.last is not None and self.last < self.first):
            raise RecipeError(
                f"ranks {self.first} to {self.last}", "mining", "ranks count from 1 and rise, e.g. 10:100"
            )

    def allows(self, candidates: Candidates) -> np.ndarray:
        last = np.inf if self.last is None else self.last
        allowed: np.ndarray = (candidates.rank >= self.first) & (candidates.rank <= last)
        return allowed


@dataclass(frozen=True)
class ScoreWindow:
    """Keeps ``least <= score < most``; None: no bound (TopK-Abs)."""

    least: float | None = None
    most: float | None = None
    name = "score window"

    def allows(self, candidates: Candidates) -> np.ndarray:
        low = -np.inf if self.least is None else self.least
        high = np.inf if self.most is None else self.most
        allowed: np.ndarray = (candidates.scores >= low) & (candidates.scores < high)
        return allowed


@dataclass(frozen=True)
class MarginToPositive:
    """Keeps what lies clearly below the query's (lowest) positive p: a document near it may answer the query too.

    ``relative``: ``score < p - |p| * margin`` (TopK-PercPos with 95 % is 0.05; the absolute value keeps the rule right
    for negative similarities). ``absolute``: ``score < p - margin`` (TopK-MarginPos). A query without a positive keeps
    all.
    """

    margin: float = 0.05
    kind: Literal["relative", "absolute"] = "relative"

    @property
    def name(self) -> str:
        return f"{self.kind} margin"

    def threshold(self, positive_score: np.ndarray) -> np.ndarray:
        """[q] scores that are too high."""
        p = np.asarray(positive_score, np.float64)
        return p - (np.abs(p) * self.margin if self.kind == "relative" else self.margin)

    def allows(self, candidates: Candidates) -> np.ndarray:
        threshold = self.threshold(candidates.positive_score)[:, None].astype(np.float32)  # the scores' own rounding
        allowed: np.ndarray = np.isnan(threshold) | (candidates.scores < threshold)
        return allowed
