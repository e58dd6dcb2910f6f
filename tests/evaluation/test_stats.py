"""The bootstrap: exact resamples, honest coverage, paired differences."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from embedkit.evaluation import stats


def pairs(n: int = 60) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    gold = rng.integers(0, 6, n).astype(float)
    return gold + rng.normal(scale=2, size=n), gold, np.arange(n) % 3 // 2  # subsets of 2/3 and 1/3


def test_sts_resamples_are_recomputed_correlations() -> None:
    cosine, gold, subset = pairs()
    found = stats.sts_draws(cosine, gold, subset, 20, np.random.default_rng(5))
    rng = np.random.default_rng(5)
    pooled = [rng.integers(60, size=60) for _ in range(20)]
    for k, index in enumerate(pooled):
        assert found["spearman_all"][k] == pytest.approx(scipy_stats.spearmanr(cosine[index], gold[index])[0])
        assert found["pearson_all"][k] == pytest.approx(scipy_stats.pearsonr(cosine[index], gold[index])[0])
    parts = [np.flatnonzero(subset == s) for s in (0, 1)]
    for k in range(20):
        drawn = [part[rng.integers(len(part), size=len(part))] for part in parts]
        own = [scipy_stats.spearmanr(cosine[index], gold[index])[0] for index in drawn]
        assert found["spearman_mean"][k] == pytest.approx(np.mean(own))
        assert found["spearman_wmean"][k] == pytest.approx(np.average(own, weights=[40, 20]))


def test_query_resamples_are_means_and_shared_by_all_metrics() -> None:
    values = np.random.default_rng(1).random(30)
    found = stats.mean_draws({"a": values, "b": 1 - values}, 50, np.random.default_rng(2))
    rng = np.random.default_rng(2)
    index = rng.integers(30, size=(50, 30))
    assert found["a"] == pytest.approx(values[index].mean(axis=1))
    assert found["a"] + found["b"] == pytest.approx(np.ones(50))


def test_many_queries_are_drawn_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {"a": np.random.default_rng(3).random(40)}
    whole = stats.mean_draws(values, 100, np.random.default_rng(4))["a"]
    monkeypatch.setattr(stats, "_BLOCK", 7 * 40)
    assert whole == pytest.approx(stats.mean_draws(values, 100, np.random.default_rng(4))["a"], abs=1e-14)


def test_intervals_cover_the_truth() -> None:
    """Of 95 % intervals of a mean, about 95 % hold the true mean."""
    rng = np.random.default_rng(6)
    held = 0
    for trial in range(300):
        sample = rng.exponential(size=80)
        draws = stats.mean_draws({"a": sample}, 400, np.random.default_rng(trial))["a"]
        found = stats.interval(sample.mean(), draws)
        held += found.low <= 1.0 <= found.high
    assert 0.89 <= held / 300 <= 0.98


def test_intervals_of_spearman_cover_the_truth() -> None:
    """Bivariate normal with correlation r has Spearman 6/pi asin(r/2)."""
    rng, r = np.random.default_rng(8), 0.6
    truth, held = 6 / np.pi * np.arcsin(r / 2), 0
    for trial in range(100):
        x = rng.normal(size=100)
        y = r * x + np.sqrt(1 - r * r) * rng.normal(size=100)
        draws = stats.sts_draws(x, y, np.zeros(100, dtype=int), 200, np.random.default_rng(trial))
        found = stats.interval(0.0, draws["spearman_all"])
        held += found.low <= truth <= found.high
    assert 0.88 <= held / 100 <= 1


def test_draws_depend_on_seed_and_task_only() -> None:
    draw = [stats.generator(seed, task).integers(1 << 30) for seed, task in ((0, "a"), (0, "a"), (1, "a"), (0, "b"))]
    assert draw[0] == draw[1]
    assert len(set(draw)) == 3


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=50))
def test_p_is_symmetric_and_a_probability(values: list[float]) -> None:
    differences = np.array(values)
    p = stats.two_sided_p(differences)
    assert 0 < p <= 1
    assert p == stats.two_sided_p(-differences)


def test_p_and_verdict_of_clear_cases() -> None:
    assert stats.two_sided_p(np.zeros(99)) == 1.0
    assert stats.two_sided_p(np.full(99, 0.1)) == pytest.approx(2 / 100)
    assert stats.two_sided_p(np.array([1.0] * 75 + [-1.0] * 24)) == pytest.approx(2 * 25 / 100)
    spread = np.linspace(0.5, 1.5, 99)
    assert stats.verdict(stats.interval(1.0, spread)) == "win"
    assert stats.verdict(stats.interval(-1.0, -spread)) == "loss"
    assert stats.verdict(stats.interval(0.0, spread - 1)) == "tie"


def test_the_null_is_rarely_refused() -> None:
    """Two models of equal quality: about 5 % of comparisons call a winner."""
    rng = np.random.default_rng(9)
    called = 0
    for trial in range(200):
        change = rng.normal(size=60)
        draws = stats.mean_draws({"a": change}, 300, np.random.default_rng(trial))["a"]
        called += stats.verdict(stats.interval(change.mean(), draws)) != "tie"
    assert called <= 0.11 * 200
