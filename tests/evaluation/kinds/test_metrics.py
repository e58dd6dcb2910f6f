"""The figures of each kind against scikit-learn's, against plain loops, and where they can be told by heart."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

from embedkit.evaluation import stats
from embedkit.evaluation.kinds.bitext import bitext_items
from embedkit.evaluation.kinds.clustering import spread, v_measure_items
from embedkit.evaluation.kinds.nearest import nearest
from embedkit.evaluation.kinds.probe import drawn, over_draws, scores
from embedkit.evaluation.metrics import codes, pair_metrics
from embedkit.evaluation.ranking import rank_candidates

# Pairs --------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=25)
@given(st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=2, max_size=40))
def test_pairs_have_the_figures_of_scikit_learn(rows: list[tuple[int, bool]]) -> None:
    similarity, match = np.array([r[0] for r in rows]) / 7, np.array([int(r[1]) for r in rows])
    if len(set(match.tolist())) < 2:
        return
    found = pair_metrics(codes(similarity), match)
    assert found["ap"] == pytest.approx(sklearn_metrics.average_precision_score(match, similarity))
    assert found["auc"] == pytest.approx(sklearn_metrics.roc_auc_score(match, similarity))
    cuts = np.unique(similarity)[1:]
    said = [(similarity >= cut).astype(int) for cut in cuts]
    best = [sklearn_metrics.f1_score(match, own, zero_division=0) for own in said]
    assert found["f1"] == pytest.approx(max(best, default=0))
    assert found["accuracy"] == pytest.approx(max(((own == match).mean() for own in said), default=0))


def test_a_constant_similarity_is_no_better_than_chance() -> None:
    match = np.array([1, 0, 0, 0])
    assert pair_metrics(np.zeros(4, int), match) == {"ap": 0.25, "auc": 0.5, "f1": 0.0, "accuracy": 0.0}


def test_pairs_are_resampled_within_their_labels() -> None:
    rng = np.random.default_rng(1)
    match = (np.arange(30) < 9).astype(int)
    similarity = match + rng.normal(size=30)
    found = stats.pair_draws(similarity, match, 20, np.random.default_rng(2))
    rng = np.random.default_rng(2)
    parts = np.flatnonzero(match == 0), np.flatnonzero(match == 1)
    for k in range(20):
        index = np.concatenate([part[rng.integers(len(part), size=len(part))] for part in parts])
        assert match[index].sum() == 9
        assert found["ap"][k] == pytest.approx(sklearn_metrics.average_precision_score(match[index], similarity[index]))


# Bitext -------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(0, 30), min_size=1, max_size=30))
def test_bitext_has_the_weighted_figures_of_scikit_learn(said: list[int]) -> None:
    found = bitext_items(np.array(said) % len(said))
    gold, options = np.arange(len(said)), {"average": "weighted", "zero_division": 0}
    own = np.array(said) % len(said)
    assert found["f1"].mean() == pytest.approx(sklearn_metrics.f1_score(gold, own, **options))
    assert found["precision"].mean() == pytest.approx(sklearn_metrics.precision_score(gold, own, **options))
    assert found["accuracy"].mean() == pytest.approx(sklearn_metrics.accuracy_score(gold, own))


def test_of_equal_texts_the_first_is_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.eye(4, dtype=np.float32)[[0, 1, 0, 2, 1]]
    for block in (1 << 20, 1):
        monkeypatch.setattr("embedkit.evaluation.kinds.nearest.BLOCK_BYTES", block)
        assert nearest(rows, rows, lambda a, b: a @ b.T).tolist() == [0, 1, 0, 3, 1]


# Reranking ----------------------------------------------------------------------------------------------------


def test_candidates_are_ranked_with_ties_as_everywhere() -> None:
    found = rank_candidates(
        np.array([0.5, 0.9, 0.5, 0.1], np.float32), np.array([1, 0, 0, 1]), ["d0", "d1", "d2", "d3"]
    )
    assert found.rank.tolist() == [3, 4], "the larger id, d2, stands before d0"
    assert found.auc == pytest.approx((0.5 + 0) / 4)


# Clustering ---------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 5)), min_size=1, max_size=60))
def test_the_mean_of_the_items_is_the_v_measure(rows: list[tuple[int, int]]) -> None:
    labels, clusters = (np.array(side) for side in zip(*rows, strict=True))
    found = v_measure_items(labels, clusters)
    assert found.mean() == pytest.approx(sklearn_metrics.v_measure_score(labels, clusters), abs=1e-9)
    chosen = np.random.default_rng(0).integers(40, size=len(labels))
    assert spread(found, chosen, 40).mean() == pytest.approx(found.mean())


def test_the_spread_of_the_items_is_that_of_new_texts() -> None:
    """Sets of 800 drawn anew: the standard deviation of their v-measures is what one set says of it."""
    rng = np.random.default_rng(3)

    def sample() -> tuple[np.ndarray, np.ndarray]:
        labels = rng.integers(5, size=800)
        return labels, np.where(rng.random(800) < 0.7, labels, rng.integers(5, size=800))

    anew = [v_measure_items(*sample()).mean() for _ in range(300)]
    told = [v_measure_items(*sample()).std() / 800**0.5 for _ in range(30)]
    assert np.mean(told) == pytest.approx(np.std(anew), rel=0.15)


# Classification -----------------------------------------------------------------------------------------------


def test_draws_have_the_asked_number_of_each_class_and_are_nested() -> None:
    labels = [i % 3 for i in range(40)]
    found = drawn(labels, [2, 5], 4)
    for small, large in zip(found[2], found[5], strict=True):
        assert Counter(labels[i] for i in small) == {0: 2, 1: 2, 2: 2}
        assert Counter(labels[i] for i in large) == {0: 5, 1: 5, 2: 5}
        assert set(small.tolist()) < set(large.tolist())
    assert len({tuple(draw.tolist()) for draw in found[5]}) == 4
    assert [draw.tolist() for draw in drawn(labels, [2], 4)[2]] == [draw.tolist() for draw in found[2]]


def test_draws_leave_the_random_state_alone() -> None:
    np.random.seed(5)
    random.seed(5)
    expected = np.random.random(), random.random()
    np.random.seed(5)
    random.seed(5)
    drawn([0, 1] * 9, [2], 3)
    assert (np.random.random(), random.random()) == expected


def test_scores_are_those_of_each_draw() -> None:
    gold = np.array([0, 0, 0, 1])
    found = scores(gold, np.array([[0, 0, 1, 1], [0, 0, 0, 0]]))
    assert found["accuracy"] == [0.75, 0.75]
    assert found["f1"] == pytest.approx([(0.8 + 2 / 3) / 2, (6 / 7) / 2])
    assert found["f1_weighted"] == pytest.approx([0.75 * 0.8 + 0.25 * 2 / 3, 0.75 * 6 / 7])
    assert found["recall"] == pytest.approx([(2 / 3 + 1) / 2, 0.5])


def test_the_interval_over_draws_is_students() -> None:
    found = over_draws([0.5, 0.6, 0.7])
    assert found["mean"] == pytest.approx(60) and found["sd"] == pytest.approx(10)
    half = 4.302652729911275 * 10 / 3**0.5  # t of 2 degrees of freedom at 0.975
    assert found["interval"] == pytest.approx([60 - half, 60 + half])
    assert "interval" not in over_draws([0.5])


def test_resamples_of_items_and_draws_are_both_drawn() -> None:
    values = np.random.default_rng(4).random((30, 5))
    found = stats.mean_draws({"a": values}, 40, np.random.default_rng(5))["a"]
    rng = np.random.default_rng(5)
    index = rng.integers(30, size=(40, 30))
    weights = rng.multinomial(5, np.full(5, 0.2), size=40) / 5
    assert found == pytest.approx((values[index].mean(axis=1) * weights).sum(axis=1))
    by_draw = np.tile([0.0, 1.0], (30, 1))
    spread_of = stats.mean_draws({"a": by_draw}, 400, np.random.default_rng(6))["a"]
    assert set(np.round(spread_of, 9)) == {0.0, 0.5, 1.0}, "draws that differ widen the interval"
