"""Draws follow the weights, without replacement, the same for the same seed however the work is split."""

from __future__ import annotations

import numpy as np
import pytest

from embedkit.mining import diagnostics
from embedkit.mining.draws import draw
from embedkit.mining.pool import Pool
from embedkit.mining.propensity import ROLES, Cells, Propensity
from embedkit.recipe.debias import Debias
from tests.mining.pools import biased_pool

EVEN = Propensity(Cells(np.zeros(0), np.zeros(0)), {}, {role: np.ones(1) for role in ROLES}, (0.0, 0.0), 0)


def same_candidates(meaning: list[float], anchors: int) -> Pool:
    """Every anchor has the same candidates."""
    shape = (anchors, len(meaning))
    zeros = np.zeros(shape, np.float32)
    return Pool(np.arange(anchors), np.tile(np.arange(len(meaning)) + 10**6, (anchors, 1)),
                np.tile(np.float32(meaning), (anchors, 1)), zeros, zeros, 1)  # fmt: skip


def test_frequencies_are_proportional_to_the_weights() -> None:
    pool = same_candidates([0.9, 0.8, 0.7, 0.4, 0.1], anchors=20_000)
    slots = draw(pool, "positive", 1, EVEN, Debias())[:, 0]
    g = np.exp(5 * np.array([0.9, 0.8, 0.7]))
    assert np.bincount(slots, minlength=5) / 20_000 == pytest.approx([*(g / g.sum()), 0, 0], abs=0.012)


def test_without_replacement_and_missing_ones_are_marked() -> None:
    pool = same_candidates([0.9, 0.1, 0.0, 0.5], anchors=500)
    slots = draw(pool, "negative", 3, EVEN, Debias())
    assert {tuple(sorted(row)) for row in slots.tolist()} == {(-1, 1, 2)}
    assert (slots[:, 2] == -1).all()
    first = (slots[:, 0] == 2).mean()
    assert first == pytest.approx(1 / (1 + np.exp(-0.5)), abs=0.08)


def test_empty_slots_are_never_drawn() -> None:
    pool = same_candidates([0.9, 0.8], anchors=100)
    pool.candidate[:, 0] = -1
    assert set(draw(pool, "positive", 2, EVEN, Debias()).ravel().tolist()) == {1, -1}


def test_draws_depend_on_seed_role_and_place_alone() -> None:
    pool, later = biased_pool(anchors=200), biased_pool(anchors=200, start=4096)
    one = draw(pool, "positive", 1, EVEN, Debias())
    assert np.array_equal(one, draw(pool, "positive", 1, EVEN, Debias()))
    assert not np.array_equal(one, draw(pool, "positive", 1, EVEN, Debias(seed=1)))
    assert not np.array_equal(one, draw(later, "positive", 1, EVEN, Debias()))


def test_a_rounding_difference_in_the_weights_changes_nothing() -> None:
    """What another number of threads may do to a cosine."""
    pool = biased_pool(anchors=2000)
    nudged = Pool(**{**vars(pool), "meaning": pool.meaning * np.float32(1 + 1e-6)})
    for role in ROLES:
        assert np.array_equal(draw(pool, role, 1, EVEN, Debias()), draw(nudged, role, 1, EVEN, Debias()))


class TestDiagnostics:
    def test_auc_and_correlation_against_naive_ones(self) -> None:
        rng = np.random.default_rng(0)
        a, b = rng.integers(0, 6, 40) / 6, rng.integers(0, 4, 30) / 6
        even = np.full(40, 1 / 40), np.full(30, 1 / 30)
        naive = np.mean([(x > y) + 0.5 * (x == y) for x in a for y in b])
        assert diagnostics.auc((a, even[0]), (b, even[1])) == pytest.approx(naive)
        both, label = np.concatenate([np.repeat(a, 3), np.repeat(b, 4)]), [1] * 120 + [0] * 120
        expected = np.corrcoef(both, label)[0, 1]
        assert diagnostics.correlation((a, even[0]), (b, even[1])) == pytest.approx(expected)

    def test_weights_count(self) -> None:
        a, b = np.array([0.0, 1.0]), np.array([0.5])
        assert diagnostics.auc((a, np.array([0.25, 0.75])), (b, np.ones(1))) == pytest.approx(0.75)

    def test_effective_sample_of_equal_weights_is_whole(self) -> None:
        even = np.full(10, 0.1)
        assert diagnostics._kish(even, even) == pytest.approx(1)
        assert diagnostics._kish(even, np.array([1.0, *[0.0] * 9])) == pytest.approx(0.1)

    def test_reuse(self) -> None:
        assert diagnostics.reuse(np.array([3, 3, 1, -1])) == 2
        assert diagnostics.reuse(np.array([-1])) == 0
