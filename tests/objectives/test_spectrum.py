"""The spectrum of a batch, and the rank term."""

from __future__ import annotations

import pytest
import torch

from embedkit.objectives.spectrum import energy_rank, entropy, spectrum
from tests.objectives.batches import batch


def test_the_spectrum_is_the_same_from_either_side() -> None:
    x = batch(d=8).query
    wide = torch.cat([x, torch.zeros(12, 40).double()], 1)  # now the Gram matrix is the smaller one
    torch.testing.assert_close(spectrum(wide)[-8:], spectrum(x), rtol=1e-10, atol=1e-14)
    torch.testing.assert_close(entropy(spectrum(wide)), entropy(spectrum(x)), rtol=1e-10, atol=0)
    torch.testing.assert_close(spectrum(x).sum(), torch.ones(()).double())


def test_equal_and_zero_eigenvalues() -> None:
    """Four orthogonal directions, each three times: rank 4 of 8, all four eigenvalues equal."""
    x = torch.eye(8)[:4].repeat(3, 1).double().requires_grad_()
    h = entropy(spectrum(x))
    assert float(h.detach().exp()) == pytest.approx(4, rel=1e-12)
    (gradient,) = torch.autograd.grad(h, x)
    torch.testing.assert_close(gradient, torch.zeros_like(x), rtol=0, atol=1e-12)
    assert float(entropy(spectrum(torch.ones(5, 3).double()))) == pytest.approx(0, abs=1e-12)


def test_a_weight_of_two_is_a_row_twice() -> None:
    x = batch().query
    weight = torch.ones(12).double()
    weight[3] = 2
    torch.testing.assert_close(spectrum(x, weight), spectrum(torch.cat([x, x[3:4]])), rtol=1e-10, atol=1e-14)


def test_energy_rank_counts_leading_eigenvalues() -> None:
    values = torch.tensor([0.0, 0.05, 0.05, 0.3, 0.6])
    assert [int(energy_rank(values, share)) for share in (0.5, 0.7, 0.92, 1.0)] == [1, 2, 3, 4]


def test_a_positive_weight_lowers_the_rank() -> None:
    x = batch(n=32).query.clone().requires_grad_()
    before = float(entropy(spectrum(x)).exp().detach())
    for _ in range(20):
        (gradient,) = torch.autograd.grad(entropy(spectrum(x)), x)
        x = (x - 2.0 * gradient).detach().requires_grad_()
    assert float(entropy(spectrum(x)).exp().detach()) < before - 0.5
