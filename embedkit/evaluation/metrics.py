"""What the evaluation measures, as pure functions of arrays. Values are fractions; reports multiply by 100
(`points`)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

import numpy as np

from embedkit.evaluation.noise import steady
from embedkit.evaluation.ranking import Ranking

T = TypeVar("T")
UNSCALED = frozenset({"rank_variance", "rank_std", "rank_variance_median"})
"""Metrics that are no fractions: reports show them as they are."""


def points(values: dict[str, Any]) -> dict[str, Any]:
    """Values of metrics, or arrays of them, on the scale 0..100."""
    return {name: value if name in UNSCALED else 100 * value for name, value in values.items()}


def paired_cosine(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Cosine of row i of `first` with row i of `second`, both from `embedkit.vectors.view.unit`, [n] float64.

    Computed as ``1 - |a - b|^2 / 2``, which is exactly 1 for equal embeddings. The inner product is 1 up to
    rounding, and that noise would put identical pairs in an arbitrary order (0.003 points on STS12). Distances that
    differ by rounding only count as equal.
    """
    distance = steady(np.sqrt(((first.astype(np.float64) - second) ** 2).sum(axis=1)), size=1.0)
    sizes = first.any(axis=1).astype(np.float64) + second.any(axis=1)  # 1 each, 0 for a zero row
    return (sizes - distance**2) / 2


# Correlation of graded pairs ----------------------------------------------------------------------------------


def codes(values: np.ndarray) -> np.ndarray:
    """Each value's place among the distinct values, [n] int64: all that a rank correlation needs to know."""
    return np.unique(values, return_inverse=True)[1]


def average_ranks(code: np.ndarray) -> np.ndarray:
    """Ranks 1..n of values given by their `codes`, [n] float64; equal values share the mean of their ranks.

    Counting sort: no comparison is made, so a bootstrap resample ``code[index]`` costs O(n).
    """
    counts = np.bincount(code)
    return (np.cumsum(counts) - (counts - 1) / 2)[code]


def pearson(x: np.ndarray, y: np.ndarray) -> float:
    """Pearson's correlation. 0 when one side is constant: it then tells nothing about the other."""
    if not np.ptp(x) or not np.ptp(y):  # minus their mean they would be rounding errors, not zero
        return 0.0
    x, y = x - x.mean(), y - y.mean()
    scale = float(np.sqrt((x @ x) * (y @ y)))
    return float(np.clip(x @ y / scale, -1.0, 1.0)) if scale > 0 else 0.0


def spearman(code_x: np.ndarray, code_y: np.ndarray) -> float:
    """Spearman's correlation of two variables given by their `codes`: Pearson's of the average ranks."""
    return pearson(average_ranks(code_x), average_ranks(code_y))


def sts_metrics(cosine: np.ndarray, gold: np.ndarray, subset: np.ndarray) -> dict[str, float]:
    """Spearman and Pearson between cosine and gold score, in the three ways that papers put a year together.

    ``all``: one correlation over every pair (SimCSE, MTEB). ``mean``: the plain mean of the subsets'
    correlations. ``wmean``: their mean weighted by the number of pairs (SentEval). The three differ by several
    points on STS12-16, so they are always given together.

    Args:
        cosine, gold: [n].
        subset: [n] int, the sub-dataset of each pair.
    """
    x, y, parts = codes(cosine), codes(gold), split(subset)
    found = {"spearman_all": spearman(x, y), "pearson_all": pearson(cosine, gold)}
    sizes = np.array([len(part) for part in parts])
    by_subset = {
        "spearman": np.array([spearman(x[part], y[part]) for part in parts]),
        "pearson": np.array([pearson(cosine[part], gold[part]) for part in parts]),
    }
    for name, values in by_subset.items():
        found[f"{name}_mean"] = float(values.mean())
        found[f"{name}_wmean"] = float(values @ sizes / sizes.sum())
    return found


def name_main(values: dict[str, T], aggregate: str) -> dict[str, T]:
    """Add ``spearman`` and ``pearson``, a task's own choice among ``all``, ``mean`` and ``wmean``."""
    return {**{name: values[f"{name}_{aggregate}"] for name in ("spearman", "pearson")}, **values}


def split(subset: np.ndarray) -> list[np.ndarray]:
    """Row indices of each subset, in the order of the subset codes."""
    order = np.argsort(subset, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(subset[order])) + 1)


# Pairs that match or do not ------------------------------------------------------------------------------------


def pair_metrics(code: np.ndarray, match: np.ndarray) -> dict[str, float]:
    """How well a similarity tells pairs that match from pairs that do not. Equal similarities share a threshold.

    With ``P`` matching pairs, ``f_t`` of them among the ``n_t`` pairs at or above threshold t:

    - ``ap`` = sum over t, from the highest, of ``(f_t - f_t-1) / P * f_t / n_t`` (average precision, not interpolated);
    - ``auc`` = share of (matching, other) pairs of pairs that are in order, ties half;
    - ``f1``, ``accuracy`` = at the threshold that is best for it on these pairs, as mteb has them; 0 where the
      similarity is constant, and no threshold lies between two values.

    Args:
        code: [n], `codes` of the similarities.
        match: [n], 1 or 0, some of both.
    """
    pairs, hits = np.bincount(code)[::-1], np.bincount(code, match)[::-1]
    pairs, hits = pairs[pairs > 0], hits[pairs > 0]
    taken, found, misses = pairs.cumsum(), hits.cumsum(), pairs - hits
    total, matching = int(taken[-1]), float(found[-1])
    others = total - matching
    below = others - misses.cumsum() + misses / 2
    right = found + others - (taken - found)
    return {
        "ap": float((hits * found / taken).sum() / matching),
        "auc": float((hits * below).sum() / (matching * others)),
        "f1": float((2 * found / (taken + matching))[:-1].max(initial=0.0)),
        "accuracy": float((right / total)[:-1].max(initial=0.0)),
    }


# Retrieval ----------------------------------------------------------------------------------------------------


def retrieval_metrics(rankings: Iterable[Ranking], ks: Iterable[int]) -> dict[str, np.ndarray]:
    """Metrics of every query, from the ranks of its relevant documents alone. Each value is [queries] float64.

    With ``g_i`` the gain (judgement above 0) and ``r_i`` the rank of relevant document i, R relevant documents:

    - ``ndcg@k`` = sum over r_i <= k of g_i / log2(r_i + 1), divided by the same sum for the best order
      (linear gain, as trec_eval and MTEB);
    - ``recall@k`` = share of the R documents with r_i <= k;
    - ``mrr@k`` = 1 / min r_i if that is <= k, else 0;
    - ``map`` = mean over the R documents of (relevant documents up to r_i) / r_i; ``map@k`` counts only r_i <= k,
      still divided by R;
    - ``auc`` = share of (relevant, other) document pairs of the whole corpus that are in order, ties half.
    """
    ks = tuple(ks)
    rows = [_query_metrics(ranking, ks) for ranking in rankings]
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def _query_metrics(ranking: Ranking, ks: tuple[int, ...]) -> dict[str, float]:
    rank, gain, relevant = ranking.rank, ranking.gain, len(ranking.rank)
    discount = gain / np.log2(rank + 1)
    ideal = np.cumsum(np.sort(gain)[::-1] / np.log2(np.arange(relevant) + 2))
    precision = np.arange(1, relevant + 1) / rank
    found = {}
    for k in ks:
        hits = int(np.searchsorted(rank, k, side="right"))
        found[f"ndcg@{k}"] = float(discount[:hits].sum() / ideal[min(k, relevant) - 1])
        found[f"recall@{k}"] = hits / relevant
        found[f"mrr@{k}"] = 1.0 / float(rank[0]) if hits else 0.0
        found[f"map@{k}"] = float(precision[:hits].sum() / relevant)
    return {**found, "map": float(precision.mean()), "auc": ranking.auc}
