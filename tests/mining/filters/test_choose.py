"""Negatives are taken from what passed, never more, in draws that repeat."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from embedkit.mining.filters.base import Candidates
from embedkit.mining.filters.choose import By, Choice, log_weights
from embedkit.vectors.index.found import NONE, Found


def candidates(queries: int, k: int, keep: np.ndarray | None = None) -> Candidates:
    scores = np.tile(np.linspace(0.9, 0.1, k, dtype=np.float32), (queries, 1))
    made = Candidates.of(Found(np.tile(np.arange(k), (queries, 1)), scores), np.full(queries, 0.7))
    return made if keep is None else replace(made, keep=keep)


WAYS: list[By] = ["best", "even", "simans", "stride"]


@pytest.mark.parametrize("by", WAYS)
def test_a_query_with_fewer_keeps_fewer(by: By) -> None:
    keep = np.zeros((3, 6), bool)
    keep[0, [1, 4]] = True
    keep[1] = True
    chosen = Choice(4, by).of(candidates(3, 6, keep), [1, 2, 3])
    assert chosen[0].tolist() == [1, 4, NONE, NONE] and chosen[2].tolist() == [NONE] * 4
    assert (chosen[1] >= 0).all() and len(set(chosen[1])) == 4 and (np.diff(chosen[1]) > 0).all()
    assert Choice(9, by).of(candidates(1, 6), [1]).tolist() == [[0, 1, 2, 3, 4, 5, NONE, NONE, NONE]]
    assert Choice(2, by).of(candidates(0, 6), []).shape == (0, 2)


def test_the_best_are_the_first_allowed() -> None:
    keep = np.array([[False, True, False, True, True, True]])
    assert Choice(3).of(candidates(1, 6, keep), [1]).tolist() == [[1, 3, 4]]


@pytest.mark.parametrize("by", ["even", "simans"])
def test_draws_depend_on_seed_and_query_alone(by: By) -> None:
    choice, keys = Choice(5, by, seed=3), [11, -5, 11]
    a = choice.of(candidates(3, 50), keys)
    assert (a == choice.of(candidates(3, 50), keys)).all()
    assert (a[0] == a[2]).all() and not (a[0] == a[1]).all()
    assert (choice.of(candidates(2, 50), [-5, 4])[0] == a[1]).all()
    assert not (replace(choice, seed=4).of(candidates(3, 50), keys) == a).all()


def test_an_even_draw_is_even() -> None:
    chosen = Choice(1, "even").of(candidates(6000, 6), list(range(6000)))
    shares = np.bincount(chosen.ravel(), minlength=6) / 6000
    np.testing.assert_allclose(shares, 1 / 6, atol=0.02)


def test_simans_draws_with_the_papers_probabilities() -> None:
    scores = np.array([0.9, 0.8, 0.75, 0.6, 0.2], np.float32)
    wanted = [0.22250115706974374, 0.2202872335658973, 0.21755078160189079, 0.20335074620497062, 0.1363100815574975]
    weight = np.exp(log_weights(scores[None], np.array([0.8]), 1.0, 0.1))[0]
    np.testing.assert_allclose(weight / weight.sum(), wanted, rtol=1e-6)
    many = 20_000
    made = Candidates.of(Found(np.tile(np.arange(5), (many, 1)), np.tile(scores, (many, 1))), np.full(many, 0.8))
    chosen = Choice(1, "simans", a=1.0, b=0.1).of(made, list(range(many)))
    np.testing.assert_allclose(np.bincount(chosen.ravel(), minlength=5) / many, wanted, atol=0.015)


def test_simans_without_a_positive_goes_by_the_best() -> None:
    weights = log_weights(np.array([[0.9, 0.4, -np.inf]]), np.array([np.nan]), 1.0, 0.0)
    np.testing.assert_allclose(weights, [[0, -0.25, -np.inf]], atol=1e-9)


def test_a_stride_goes_over_what_passed_in_cycles() -> None:
    """UniME-V2: every fifth, then every fifth from the second on."""
    assert Choice(8, "stride").of(candidates(1, 12), [1]).tolist() == [[0, 1, 2, 5, 6, 7, 10, 11]]
    assert Choice(3, "stride").of(candidates(1, 12), [1]).tolist() == [[0, 5, 10]]
    assert Choice(4, "stride", stride=2).of(candidates(1, 3), [1]).tolist() == [[0, 1, 2, NONE]]
    keep = np.ones((1, 12), bool)
    keep[0, [0, 2, 4]] = False  # left: 1 3 5 6 7 8 9 10 11
    assert Choice(2, "stride").of(candidates(1, 12, keep), [1]).tolist() == [[1, 8]]
    assert Choice(3, "stride").of(candidates(1, 12, keep), [1]).tolist() == [[1, 3, 8]]


def test_simans_power_one_is_the_code_of_ms_marco() -> None:
    weight = np.exp(log_weights(np.array([[0.9, 0.8, 0.6]]), np.array([0.8]), 3.0, 0.0, 1.0))[0]
    np.testing.assert_allclose(weight, np.exp([-0.3, 0, -0.6]), rtol=1e-9)
