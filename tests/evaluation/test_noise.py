"""Noise of float32 is no signal."""

from __future__ import annotations

import numpy as np
import pytest

from embedkit.evaluation.loading import StsData
from embedkit.evaluation.noise import all_equal, steady
from embedkit.evaluation.tasks import ALL_EQUAL, run_task
from embedkit.recipe.suite import RetrievalTask, StsTask
from embedkit.types import RetrievalData
from embedkit.vectors.view import unit


class Collapsed:
    """One vector for every text, up to noise."""

    def __init__(self, noise: float) -> None:
        self.noise = noise

    def encode(self, texts, **_):
        generator = np.random.default_rng(0)
        base = generator.normal(size=48)
        return (base + self.noise * generator.normal(size=(len(texts), 48))).astype(np.float32)

    def fingerprint(self) -> str:
        return "collapsed"


def sts() -> tuple[StsTask, StsData]:
    words = [f"text {i}" for i in range(60)]
    gold = np.random.default_rng(1).random(30)
    data = StsData(words[:30], words[30:], gold, np.zeros(30, dtype=np.int64), ("",), "digest")
    return StsTask(name="pairs", files=("none",)), data


def retrieval() -> tuple[RetrievalTask, RetrievalData]:
    corpus = {f"d{i}": f"document {i}" for i in range(50)}
    queries = {f"q{i}": f"query {i}" for i in range(10)}
    qrels = {f"q{i}": {f"d{49 - i}": 1} for i in range(10)}
    return RetrievalTask(name="find", folder="none"), RetrievalData(queries, corpus, qrels, "digest")


@pytest.mark.parametrize("noise", [0.0, 1e-8, 1e-7])
def test_a_collapsed_model_scores_nothing_and_is_named(noise: float) -> None:
    for task, data in (sts(), retrieval()):
        score = run_task(Collapsed(noise), task, data)
        wrong = {k: v for k, v in score.metrics.items() if v != (50 if k == "auc" else 0)}
        assert not wrong and score.details["note"] == ALL_EQUAL


def test_small_but_real_differences_count() -> None:
    for task, data in (sts(), retrieval()):
        score = run_task(Collapsed(1e-3), task, data)
        assert "note" not in score.details and score.metrics[score.main] != 0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_values_that_differ_by_rounding_become_equal(dtype: type) -> None:
    values = np.array([0.3, 0.3 + 3e-8, 0.3 - 3e-8, 0.30001, -0.9, 0.0], dtype=dtype)
    found = steady(values)
    assert len({*found[:3].tolist()}) == 1 and found[3] > found[0] and found.dtype == dtype
    assert np.abs(found - values).max() < 5e-7
    assert not np.ptp(steady(np.full(9, 0.377, dtype) + np.arange(9, dtype=dtype) * dtype(1e-8)))


def test_large_dot_products_keep_their_order() -> None:
    values = np.array([1000.0, 1000.01, 999.9, -1000.0], dtype=np.float32)
    assert np.array_equal(np.argsort(steady(values)), np.argsort(values))
    assert steady(np.zeros(3)).tolist() == [0, 0, 0] and steady(np.empty(0)).tolist() == []


def test_all_equal() -> None:
    rows = unit(np.random.default_rng(0).normal(size=(5, 8)))
    assert not all_equal(rows) and all_equal(rows[[0, 0, 0]]) and not all_equal(rows[:1])
