"""Non-negative embeddings in front of an objective."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from embedkit.objectives.nonnegative import non_negative, rep_relu
from embedkit.types import Embeddings
from tests.objectives import options as o
from tests.objectives.batches import ALL, batch, infonce, tangled
from tests.objectives.helpers import assert_same_loss, gradients, leaves, loss_of


def test_rep_relu_is_relu_with_another_gradient() -> None:
    z = torch.linspace(-3, 3, 13, dtype=torch.float64, requires_grad=True)
    (ours,) = torch.autograd.grad(rep_relu(z).sum(), z)
    (gelu,) = torch.autograd.grad(functional.gelu(z).sum(), z)
    assert torch.equal(rep_relu(z), z.relu()) and torch.equal(ours, gelu)


@pytest.mark.parametrize("activation", ["relu", "softplus", "none"])
def test_it_is_the_objective_on_activated_embeddings(activation: str) -> None:
    inner = infonce(directions=ALL, hard_negative_weight=0.3)
    act = {"relu": torch.relu, "softplus": functional.softplus, "none": torch.clone}[activation]

    def activated(e: Embeddings) -> Embeddings:
        return replace(e, query=act(e.query), positive=act(e.positive), negative=act(e.negative))

    config = o.NonNegative(objective=inner, activation=activation)
    assert_same_loss(lambda e: loss_of(config, e), lambda e: loss_of(inner, activated(e)), tangled(batch(m=2)))


def test_the_floor_bounds_the_gradient_of_a_row_without_positive_coordinates() -> None:
    e = batch()
    e.query[4] = -e.query[4].abs()
    e.query[5] = -1.0
    e.query[5, 0] = 1e-5  # short, not zero
    longest = {}
    for floor in (0.0, 1e-3):
        e = leaves(e)
        longest[floor] = gradients(loss_of(o.NonNegative(objective=infonce(directions=ALL), floor=floor), e), e)[
            "query"
        ].norm(dim=1)
    assert longest[0.0][4] > 1e9 and longest[0.0][5] > 1e3
    assert longest[1e-3][4] < 1e3 and longest[1e-3][5] < 1e2
    torch.testing.assert_close(longest[1e-3][:4], longest[0.0][:4], rtol=1e-12, atol=0)
    torch.testing.assert_close(longest[1e-3][5], longest[0.0][5] * 1e-5 / 1e-3, rtol=1e-9, atol=0)
    assert longest[1e-3][4] > 0  # GELU's: the row may come back


def test_a_row_of_zeros_is_normalised_as_if_it_had_the_floor_as_length() -> None:
    z = torch.full((1, 4), -0.5, dtype=torch.float64, requires_grad=True)
    x = non_negative(z, "rep_relu", 1e-3)
    (ours,) = torch.autograd.grad(functional.normalize(x, dim=1, eps=1e-12).sum(), z)
    (gelu,) = torch.autograd.grad(functional.gelu(z).sum(), z)
    torch.testing.assert_close(ours, gelu / 1e-3, rtol=1e-9, atol=0)
