"""Paired permutation test: how often a difference as large arises when nothing tells the two models apart.

Under "no difference" it is chance which model gave which value, so the two values of a unit (a pair, a query, a text)
are swapped at random, and the difference of the metric is computed again (Fisher 1935; for retrieval: Smucker, Allan
and Carterette 2007, doi 10.1145/1321440.1321528).

Cosines of two models lie on different scales and cannot be swapped. Spearman's correlation depends on ranks alone, so
the ranks are, and so for average precision; for Pearson's, the values minus their mean over their standard deviation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from embedkit.evaluation.metrics import average_ranks, codes, name_main, pair_metrics, split, sts_metrics
from embedkit.evaluation.stats import PAIRS, generator, per_item
from embedkit.types import TaskScore

_BLOCK = 4_000_000


def differences(before: TaskScore, after: TaskScore, permutations: int, seed: int) -> np.ndarray:
    """Differences of the main metric, in points, after random swaps, [permutations].

    Args:
        before, after: with units, on the same data.
        permutations: how many.
        seed: of the swaps; the same for both orders of the two models.
    """
    rng = generator(seed, f"permutation {after.task}")
    if after.type == "sts":
        found = _sts(before, after, permutations, rng)
    elif after.type == PAIRS:
        found = _matches(before, after, permutations, rng)
    else:
        new, old = (per_item(score.units[score.main]) for score in (after, before))
        found = signed_means(new - old, permutations, rng)
    return 100 * found


def signed_means(change: np.ndarray, permutations: int, rng: np.random.Generator) -> np.ndarray:
    """Means of `change` [n] with random signs, [permutations]."""
    found = np.empty(permutations)
    step = max(1, _BLOCK // len(change))
    for start in range(0, permutations, step):
        rows = min(step, permutations - start)
        signs = 2 * rng.integers(2, size=(rows, len(change))) - 1
        found[start : start + rows] = signs @ change / len(change)
    return found


def two_sided_p(value: float, permuted: np.ndarray) -> float:
    """Share of permutations whose difference is at least as far from zero; the observed one counts as one of them."""
    noise = 1e-9 * max(1.0, abs(value))
    return float((1 + np.count_nonzero(np.abs(permuted) >= abs(value) - noise)) / (1 + len(permuted)))


def _sts(before: TaskScore, after: TaskScore, permutations: int, rng: np.random.Generator) -> np.ndarray:
    gold, subset = after.units["gold"], after.units["subset"]
    aggregate = after.details["aggregate"]
    parts: Sequence[np.ndarray] = [np.arange(len(gold))] if aggregate == "all" else split(subset)
    scale = _ranks if after.main.startswith("spearman") else _standard
    old, new = (_scaled(score.units["cosine"], parts, scale) for score in (before, after))
    found = np.empty(permutations)
    for i in range(permutations):
        swap = rng.integers(2, size=len(gold)).astype(bool)
        values = [
            name_main(sts_metrics(np.where(swap, a, b), gold, subset), aggregate)[after.main]
            for a, b in ((old, new), (new, old))
        ]
        found[i] = values[0] - values[1]
    return found


def _matches(before: TaskScore, after: TaskScore, permutations: int, rng: np.random.Generator) -> np.ndarray:
    match = after.units["match"]
    old, new = (_ranks(score.units["similarity"]) for score in (before, after))
    found = np.empty(permutations)
    for i in range(permutations):
        swap = rng.integers(2, size=len(match)).astype(bool)
        values = [pair_metrics(codes(np.where(swap, a, b)), match)[after.main] for a, b in ((old, new), (new, old))]
        found[i] = values[0] - values[1]
    return found


def _scaled(values: np.ndarray, parts: Sequence[np.ndarray], scale: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    found = np.empty(len(values))
    for part in parts:
        found[part] = scale(values[part])
    return found


def _ranks(values: np.ndarray) -> np.ndarray:
    return average_ranks(codes(values))


def _standard(values: np.ndarray) -> np.ndarray:
    spread = float(values.std())
    return (values - values.mean()) / spread if np.ptp(values) and spread > 0 else np.zeros(len(values))
