"""Bootstrap: how far a number would move with other test data of the same kind, and whether two models differ.

Percentile bootstrap (Efron and Tibshirani 1993, ch. 13). The unit that is drawn with replacement is the pair for
STS and pair classification, the query for retrieval and reranking, the text for classification and clustering. Draws
depend on (seed, task name, number of units, subsets) only, so that two models measured on one task see the same
resamples and their difference is a paired one.

The resamples are exact: a rank correlation is recomputed with average ranks on every resample, by counting sort
over codes found once (`metrics.average_ranks`), O(n) per resample.
"""

from __future__ import annotations

import zlib

import numpy as np

from embedkit.evaluation.metrics import codes, name_main, pair_metrics, pearson, points, spearman, split
from embedkit.types import Interval, TaskScore

Draws = dict[str, np.ndarray]
"""Metric name -> its value in each resample, [resamples]."""

PAIRS = "pair_classification"
"""Type of the scores whose metrics, like those of STS, are no means over items."""
LEVEL = 0.95
SEED = 0
"""Of the draws, unless one is asked for: a run, its report and a later comparison then see the same ones."""
_BLOCK = 4_000_000


def generator(seed: int, task: str) -> np.random.Generator:
    """The random numbers of one task: tasks of a suite are drawn independently of each other."""
    return np.random.default_rng([seed, zlib.crc32(task.encode())])


def draws(score: TaskScore, resamples: int, seed: int) -> Draws:
    """Resampled metrics of a task, in points (0..100), from the units that the score carries."""
    rng = generator(seed, score.task)
    if score.type == "sts":
        found = name_main(sts_draws(**score.units, resamples=resamples, rng=rng), score.details["aggregate"])
    elif score.type == PAIRS:
        found = pair_draws(**score.units, resamples=resamples, rng=rng)
    else:
        found = mean_draws(score.units, resamples, rng)
    return points(found)


def sts_draws(
    cosine: np.ndarray, gold: np.ndarray, subset: np.ndarray, resamples: int, rng: np.random.Generator
) -> Draws:
    """Resampled `metrics.sts_metrics`.

    ``all`` draws pairs from the whole set; ``mean`` and ``wmean`` draw within each subset, whose sizes are part
    of the design (stratified).

    Args:
        cosine, gold, subset: [n].
        resamples: number of resamples.
        rng: from `generator`.
    """
    x, y = codes(cosine), codes(gold)

    def both(index: np.ndarray) -> tuple[float, float]:
        return spearman(x[index], y[index]), pearson(cosine[index], gold[index])

    pooled = np.array([both(rng.integers(len(x), size=len(x))) for _ in range(resamples)])
    parts = split(subset)
    strata = np.array(
        [[both(part[rng.integers(len(part), size=len(part))]) for part in parts] for _ in range(resamples)]
    )
    weights = np.array([len(part) for part in parts]) / len(x)
    found = {}
    for column, name in enumerate(("spearman", "pearson")):
        found[f"{name}_all"] = pooled[:, column]
        found[f"{name}_mean"] = strata[:, :, column].mean(axis=1)
        found[f"{name}_wmean"] = strata[:, :, column] @ weights
    return found


def pair_draws(similarity: np.ndarray, match: np.ndarray, resamples: int, rng: np.random.Generator) -> Draws:
    """Resampled `metrics.pair_metrics`; the numbers of pairs that match and that do not are part of the design.

    Args:
        similarity, match: [n].
        resamples: number of resamples.
        rng: from `generator`.
    """
    code, parts = codes(similarity), split(match)
    rows = []
    for _ in range(resamples):
        index = np.concatenate([part[rng.integers(len(part), size=len(part))] for part in parts])
        rows.append(pair_metrics(code[index], match[index]))
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def mean_draws(per_query: Draws, resamples: int, rng: np.random.Generator) -> Draws:
    """Resampled means of per-query values: queries drawn with replacement, the same draws for every metric.

    Where each item has a value for every one of k training draws or clusterings, these are drawn with replacement too
    (Owen 2007, doi 10.1214/07-AOAS122), so that the interval is of other items and of other draws.

    Args:
        per_query: metric name -> [queries], or [queries, k].
        resamples: number of resamples.
        rng: from `generator`.
    """
    values = np.stack(list(per_query.values()), axis=1).astype(np.float64)
    size = len(values)
    found = np.empty((resamples, *values.shape[1:]))
    step = max(1, _BLOCK // size)
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        drawn = rng.integers(size, size=(rows, size)) + np.arange(rows)[:, None] * size
        counts = np.bincount(drawn.ravel(), minlength=rows * size).reshape(rows, size)
        found[start : start + rows] = np.tensordot(counts, values, axes=1) / size
    if found.ndim == 3:
        k = found.shape[2]
        chosen = rng.multinomial(k, np.full(k, 1 / k), size=resamples)
        found = np.einsum("rmk,rk->rm", found, chosen) / k
    return dict(zip(per_query, found.T, strict=True))


def per_item(values: np.ndarray) -> np.ndarray:
    """[items] of units, the mean over draws where there are some."""
    return values.mean(axis=1) if values.ndim == 2 else values


def interval(value: float, draws: np.ndarray, level: float = LEVEL) -> Interval:
    """`value` with the central `level` range of its resamples."""
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(value), float(low), float(high), level)


def two_sided_p(differences: np.ndarray) -> float:
    """Two-sided bootstrap p of "no difference": twice the smaller share of resamples on one side of zero.

    Zeros count on both sides; one resample is added to each count, so that p is never 0 (Davison and Hinkley
    1997, 4.2) and equals 1 when every resample is 0.
    """
    total = len(differences) + 1
    below = (np.count_nonzero(differences <= 0) + 1) / total
    above = (np.count_nonzero(differences >= 0) + 1) / total
    return float(min(1.0, 2 * min(below, above)))


def verdict(difference: Interval) -> str:
    """``win``, ``loss`` or ``tie``: whether the interval of the difference lies above, below or across zero."""
    if difference.low > 0:
        return "win"
    return "loss" if difference.high < 0 else "tie"
