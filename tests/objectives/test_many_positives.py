"""CWCL, 1-to-K, GroCo and Symile: what their formulas promise."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from embedkit.errors import DataError, RecipeError
from embedkit.objectives.groco import sorted_shares
from embedkit.objectives.symile import combined
from embedkit.types import Embeddings
from tests.objectives import options as o
from tests.objectives.batches import batch, guided
from tests.objectives.helpers import answer, assert_same_loss, loss_of


def strict(e: Embeddings) -> Embeddings:
    """With a guide that knows only the pairs: all else stands at right angles."""
    eye = torch.eye(len(e), dtype=torch.float64)
    return replace(e, guide=replace(e, query=eye, positive=eye[:, None], negative=eye[:, None][:, :0]))


def test_a_sharp_teacher_makes_cwcl_infonce_in_both_directions() -> None:
    e = strict(batch(n=6))
    cwcl = o.CWCL(temperature=0.2, teacher_temperature=0.01)
    both = o.InfoNCE(temperature=0.2, directions=("q-d", "d-q"), partition="per_direction")
    assert_same_loss(lambda e: loss_of(cwcl, e), lambda e: 2 * loss_of(both, e), e)


def test_linear_weights_are_nearly_even() -> None:
    e = strict(batch(n=6))
    assert float(answer(o.CWCL(), e).metrics["positive_weight"]) == pytest.approx(1 / (1 + 5 * 0.5))


def test_cwcl_says_what_it_needs() -> None:
    assert o.CWCL().needs_guide
    with pytest.raises(RecipeError, match="asks a guide"):
        loss_of(o.CWCL(), batch())
    with pytest.raises(DataError, match="exactly one positive"):
        loss_of(o.CWCL(), guided(batch(p=2)))
    with pytest.raises(DataError, match="explicit negatives have none"):
        loss_of(o.CWCL(of="query"), guided(batch(m=1)))


def test_one_to_one_is_infonce_in_both_directions() -> None:
    both = o.InfoNCE(temperature=0.2, directions=("q-d", "d-q"), partition="per_direction")
    assert_same_loss(lambda e: loss_of(o.OneToK(temperature=0.2), e), lambda e: loss_of(both, e), batch(n=6))


def test_positives_compete() -> None:
    """Perfect positives of a lone row against nothing: log K each."""
    e = batch(p=3, n=2)
    e = replace(e, query=torch.tensor([[1.0, 0.0], [-1.0, 0.0]]).double(), negative=torch.zeros(2, 0, 2).double())
    e = replace(e, positive=e.query[:, None].expand(-1, 3, -1))
    out = answer(o.OneToK(temperature=0.01, divide=False, back_weight=0.0), e)
    assert out.value.tolist() == pytest.approx([3 * math.log(3) / 2] * 2)


def test_sorting_shares_are_doubly_stochastic_and_sharp() -> None:
    x = torch.rand(5, 6, dtype=torch.float64)
    shares = sorted_shares(x, torch.zeros(5, 6, dtype=torch.bool), 2, 3.0)
    torch.testing.assert_close(shares.sum(1), torch.full((5,), 2.0).double())
    hard = sorted_shares(x, torch.zeros(5, 6, dtype=torch.bool), 2, 1e9)
    assert torch.equal(hard.round(), torch.zeros_like(x).scatter(1, x.topk(2, 1).indices, 1.0))


def test_groco_of_sorted_views_is_small_only_if_steep() -> None:
    eye = torch.eye(6, dtype=torch.float64)
    e = replace(batch(n=6, d=6), query=eye, positive=eye[:, None])
    assert float(loss_of(o.GroCo(top_k=3), e)) > 0.1
    assert float(loss_of(o.GroCo(top_k=3, steepness=1000.0), e)) < 1e-2


def test_combinations_of_fields() -> None:
    a, b, c = torch.rand(3, 2, 4, dtype=torch.float64)
    made = combined([a, b, c])
    assert made.shape == (8, 4)
    torch.testing.assert_close(made[5], a[1] * b[0] * c[1])


def test_orders_depend_on_the_step_alone() -> None:
    e = batch(p=2, n=6)
    at = [float(loss_of(o.Symile(), replace(e, step=step))) for step in (3, 3, 4)]
    assert at[0] == at[1] != at[2]


def test_two_fields_are_too_few() -> None:
    with pytest.raises(DataError, match="three fields or more"):
        loss_of(o.Symile(), batch())
