"""The permutation test: exact on small cases, and right as often as it says."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy import stats as scipy_stats

from embedkit.evaluation import permutation
from embedkit.types import TaskScore


def sts(values: np.ndarray, gold: np.ndarray, aggregate: str = "all", subset: np.ndarray | None = None) -> TaskScore:
    units = {"cosine": values, "gold": gold, "subset": np.zeros(len(gold), int) if subset is None else subset}
    return TaskScore("t", "sts", "spearman", {}, units=units, details={"aggregate": aggregate})


def retrieval(values: np.ndarray) -> TaskScore:
    return TaskScore("t", "retrieval", "ndcg@10", {}, units={"ndcg@10": values})


def test_means_are_those_of_all_sign_flips() -> None:
    change = np.array([0.5, 0.25, 1.0, -0.125, 0.75])
    every = [float(np.mean(change * signs)) for signs in product((-1, 1), repeat=5)]
    value = float(change.mean())
    exact = np.mean([abs(v) >= value - 1e-12 for v in every])
    drawn = permutation.signed_means(change, 20_000, np.random.default_rng(0))
    assert set(np.round(drawn, 9)) == set(np.round(every, 9))
    assert permutation.two_sided_p(value, drawn) == pytest.approx(exact, abs=0.01)


def test_many_queries_are_swapped_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    change = np.random.default_rng(3).random(40)
    whole = permutation.signed_means(change, 100, np.random.default_rng(4))
    monkeypatch.setattr(permutation, "_BLOCK", 7 * 40)
    assert whole == pytest.approx(permutation.signed_means(change, 100, np.random.default_rng(4)), abs=1e-14)


@pytest.mark.parametrize("aggregate", ["all", "mean"])
def test_ranks_of_sts_are_swapped_and_ranked_again(aggregate: str) -> None:
    rng = np.random.default_rng(0)
    gold, subset = rng.integers(0, 6, 40).astype(float), np.repeat([0, 1], 20)
    old, new = gold + rng.normal(size=40), 100 + 0.001 * (gold + rng.normal(size=40))  # another scale altogether
    found = permutation.differences(sts(old, gold, aggregate, subset), sts(new, gold, aggregate, subset), 5, seed=7)
    parts = [np.arange(40)] if aggregate == "all" else [np.arange(20), np.arange(20, 40)]
    a, b = np.empty(40), np.empty(40)
    for part in parts:
        a[part], b[part] = scipy_stats.rankdata(old[part]), scipy_stats.rankdata(new[part])
    from embedkit.evaluation.stats import generator

    draw = generator(7, "permutation t")
    for k in range(5):
        swap = draw.integers(2, size=40).astype(bool)
        first, second = np.where(swap, a, b), np.where(swap, b, a)
        expected = np.mean(
            [scipy_stats.spearmanr(first[p], gold[p])[0] - scipy_stats.spearmanr(second[p], gold[p])[0] for p in parts]
        )
        assert found[k] == pytest.approx(100 * expected)


def test_p_is_uniform_where_nothing_differs() -> None:
    """Of two models with equal errors, 5 % are told apart at p < 0.05."""
    rng, below = np.random.default_rng(1), 0
    for trial in range(200):
        a, b = rng.random(30), rng.random(30)
        swapped = permutation.differences(retrieval(a), retrieval(b), 200, trial)
        below += permutation.two_sided_p(100 * float((b - a).mean()), swapped) < 0.05
    assert 2 <= below <= 22


def test_equal_models_have_p_one_and_order_does_not_matter() -> None:
    rng = np.random.default_rng(2)
    gold = rng.integers(0, 6, 50).astype(float)
    a, b = gold + rng.normal(size=50), gold + 3 * rng.normal(size=50)
    same = permutation.differences(sts(a, gold), sts(a, gold), 20, 0)
    assert not same.any() and permutation.two_sided_p(0.0, same) == 1.0
    one, two = sts(a, gold), sts(b, gold)
    there, back = permutation.differences(one, two, 50, 0), permutation.differences(two, one, 50, 0)
    assert np.abs(there + back).max() < 1e-9
    constant = permutation.differences(sts(np.ones(50), gold), sts(a, gold), 20, 0)
    assert np.isfinite(constant).all()
