"""Which of the allowed candidates become negatives: the best, an even draw, SimANS' draw, or one of every few. Never
more than there are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from embedkit.mining.filters.base import Candidates
from embedkit.vectors.index.found import NONE

By = Literal["best", "even", "simans", "stride"]


@dataclass(frozen=True)
class Choice:
    """`keep` negatives a query out of what filters left; a query with fewer has fewer.

    Attributes:
        keep: negatives a query.
        by: ``best``: the highest scores. ``even``: drawn evenly. ``simans``: drawn without replacement with
            probabilities ``exp(-a |s - p - b|^power)`` for the score s and the positive's p (arXiv 2210.11773); a and b
            are for the scale of the scores, and cosines differ by tenths: a = 0.5 is nearly an even draw on them.
            ``stride``: the first of every `stride` that passed, then the second of each, and so on, which spreads them
            over the list (UniME-V2, arXiv 2510.13515).
        power: 2 is the paper's; the authors' code has 1 on MS MARCO, and the opposite sign of b on Wikipedia.
        stride: of ``stride``; the paper has 5.
        seed: of the draws (Gumbel top-k: Kool et al. 2019, arXiv 1903.06059); a query's depends on it and on the
            query's key alone.
    """

    keep: int
    by: By = "best"
    a: float = 0.5
    b: float = 0.0
    power: float = 2.0
    stride: int = 5
    seed: int = 0

    def of(self, candidates: Candidates, keys: Sequence[int]) -> np.ndarray:
        """[q, keep] int64 places in the candidates' lists, best first; `NONE` where a query has no more.

        Args:
            candidates: filtered.
            keys: per query a number that names it (its text id), whatever its place.
        """
        order = self._order(candidates, keys)
        order = np.where(candidates.keep, order, -np.inf)
        width = min(self.keep, order.shape[1])
        best = np.argsort(-order, axis=1, kind="stable")[:, :width]
        there = np.take_along_axis(candidates.keep, best, 1)
        last = int(order.shape[1])
        chosen = np.sort(np.where(there, best, last), axis=1)  # lists are best first: places in order are too
        chosen = np.where(chosen == last, NONE, chosen)
        return np.pad(chosen, ((0, 0), (0, self.keep - width)), constant_values=NONE)

    def _order(self, candidates: Candidates, keys: Sequence[int]) -> np.ndarray:
        if self.by == "best":
            return -candidates.rank.astype(np.float64)
        if self.by == "stride":
            number = candidates.keep.cumsum(axis=1) - 1  # among those that passed
            cycles = -(-candidates.keep.shape[1] // self.stride)
            order: np.ndarray = -(number % self.stride * cycles + number // self.stride).astype(np.float64)
            return order
        log_weight: np.ndarray = np.zeros(candidates.scores.shape)
        if self.by == "simans":
            log_weight = log_weights(candidates.scores, candidates.positive_score, self.a, self.b, self.power)
        draws = [np.random.default_rng([self.seed, key & (2**64 - 1)]).gumbel(size=log_weight.shape[1]) for key in keys]
        return log_weight + np.stack(draws) if draws else log_weight


def log_weights(scores: np.ndarray, positive: np.ndarray, a: float, b: float, power: float = 2.0) -> np.ndarray:
    """[q, k] ``-a |s - p - b|^power``; without a positive the query's best candidate stands for it."""
    with np.errstate(invalid="ignore"):
        best = np.where(np.isfinite(scores), scores, -np.inf).max(axis=1, initial=-np.inf)
        p = np.where(np.isnan(positive), best, positive)[:, None]
        found: np.ndarray = -a * np.abs(scores.astype(np.float64) - p - b) ** power
    return np.where(np.isfinite(found), found, -np.inf)
