"""Correlations against scipy and naive loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from embedkit.evaluation import metrics
from embedkit.vectors.view import unit

levels = st.lists(st.tuples(st.integers(-3, 3), st.integers(0, 5)), min_size=3, max_size=40)


@given(levels)
@settings(max_examples=100)
def test_spearman_is_scipys_with_ties(pairs: list[tuple[int, int]]) -> None:
    x, y = np.array(pairs, dtype=float).T
    ours = metrics.spearman(metrics.codes(x), metrics.codes(y))
    if len(set(x)) == 1 or len(set(y)) == 1:
        assert ours == 0.0
    else:
        assert ours == pytest.approx(scipy_stats.spearmanr(x, y)[0], abs=1e-12)


@given(st.lists(st.integers(-4, 4), min_size=1, max_size=30))
def test_average_ranks_are_scipys(values: list[int]) -> None:
    x = np.array(values)
    assert np.array_equal(metrics.average_ranks(metrics.codes(x)), scipy_stats.rankdata(x))


def test_pearson_is_scipys_and_zero_for_a_constant() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=50)
    y = x + rng.normal(size=50)
    assert metrics.pearson(x, y) == pytest.approx(scipy_stats.pearsonr(x, y)[0], abs=1e-12)
    assert metrics.pearson(x, np.full(50, 3.0)) == 0.0


def test_three_ways_to_put_subsets_together() -> None:
    rng = np.random.default_rng(1)
    gold = rng.integers(0, 6, size=90).astype(float)
    cosine = gold + rng.normal(scale=3, size=90)
    subset = rng.permutation(np.repeat([0, 1, 2], [50, 30, 10]))
    cosine[subset == 2] += 10  # a shift within a subset changes `all` only
    found = metrics.sts_metrics(cosine, gold, subset)
    for name, function in (("spearman", scipy_stats.spearmanr), ("pearson", scipy_stats.pearsonr)):
        own = [function(cosine[subset == s], gold[subset == s])[0] for s in range(3)]
        assert found[f"{name}_all"] == pytest.approx(function(cosine, gold)[0], abs=1e-12)
        assert found[f"{name}_mean"] == pytest.approx(np.mean(own), abs=1e-12)
        assert found[f"{name}_wmean"] == pytest.approx(np.average(own, weights=[50, 30, 10]), abs=1e-12)
    assert abs(found["spearman_all"] - found["spearman_mean"]) > 0.05


def test_one_subset_makes_all_three_equal() -> None:
    rng = np.random.default_rng(2)
    cosine, gold = rng.normal(size=(2, 40))
    found = metrics.sts_metrics(cosine, gold, np.zeros(40, dtype=int))
    assert found["spearman_all"] == found["spearman_mean"] == pytest.approx(found["spearman_wmean"], abs=1e-15)


def test_the_main_name_follows_the_aggregate() -> None:
    values = {f"{n}_{a}": f"{n}{a}" for n in ("spearman", "pearson") for a in ("all", "mean", "wmean")}
    assert metrics.name_main(values, "wmean")["spearman"] == "spearmanwmean"


def test_cosine_of_equal_embeddings_is_exactly_one() -> None:
    rows = unit(np.random.default_rng(3).normal(size=(500, 384)).astype(np.float32))
    assert np.array_equal(metrics.paired_cosine(rows, rows), np.ones(500))
    other = rows[::-1].copy()
    inner = (rows.astype(np.float64) * other).sum(axis=1)
    assert metrics.paired_cosine(rows, other) == pytest.approx(inner, abs=1e-6)


def test_a_zero_embedding_is_similar_to_nothing() -> None:
    rows = unit(np.array([[0, 0], [0, 0], [3, 4]], dtype=np.float32))
    assert metrics.paired_cosine(rows[:2], rows[1:]) == pytest.approx([0, 0], abs=1e-7)
    assert rows[2] == pytest.approx([0.6, 0.8])


def test_split_gives_every_row_once_in_subset_order() -> None:
    parts = metrics.split(np.array([2, 0, 2, 1, 0]))
    assert [part.tolist() for part in parts] == [[1, 4], [3], [0, 2]]
