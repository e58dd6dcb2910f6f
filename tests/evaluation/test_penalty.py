"""Relative penalties: gradients of InfoNCE, and what the temperature does to them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from embedkit.errors import DataError
from embedkit.evaluation.penalty import TEMPERATURES, by_temperature, relative_penalty


def pairs(n: int = 6, d: int = 5) -> tuple[np.ndarray, np.ndarray]:
    rows = np.random.default_rng(1).standard_normal((2, n, d))
    first, second = rows / np.linalg.norm(rows, axis=2, keepdims=True)
    return first, second


@pytest.mark.parametrize("temperature", [0.05, 1.0])
def test_it_is_the_ratio_of_gradients(temperature: float) -> None:
    first, second = pairs()
    logits = torch.from_numpy(first @ second.T / temperature).requires_grad_()
    torch.nn.functional.cross_entropy(logits, torch.arange(len(first)), reduction="sum").backward()
    assert logits.grad is not None
    gradient = logits.grad.numpy()
    share, entropy, push = relative_penalty(first, second, temperature)
    np.testing.assert_allclose(push, -np.diag(gradient), rtol=1e-9)
    np.testing.assert_allclose(share, np.where(np.eye(6) > 0, 0, gradient / -np.diag(gradient)[:, None]), rtol=1e-9)
    np.testing.assert_allclose(share.sum(1), 1)
    some = share[0][share[0] > 0]
    assert entropy[0] == pytest.approx(-(some * np.log(some)).sum())


def test_a_low_temperature_pushes_few_negatives() -> None:
    first, second = pairs()
    rows, place = np.concatenate([first, second]), np.arange(6)
    found = by_temperature(rows, place, place + 6)
    assert [one["temperature"] for one in found] == list(TEMPERATURES)
    pushed = [one["pushed"] for one in found]
    assert pushed == sorted(pushed) and 1 <= pushed[0] < 2 < pushed[-1] <= 5
    assert all(one["negatives"] == 5 for one in found)


def test_a_text_is_taken_once_and_two_pairs_are_too_few() -> None:
    first, second = pairs()
    rows = np.concatenate([first, second])
    assert by_temperature(rows, np.array([0, 0, 1]), np.array([6, 7, 8])) == []
    assert by_temperature(rows, np.array([0, 0, 1, 2]), np.array([6, 7, 8, 9]))[0]["negatives"] == 2
    with pytest.raises(DataError, match="2 pairs have no relative penalty"):
        relative_penalty(first[:2], second[:2], 0.1)
