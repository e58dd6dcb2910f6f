"""VICReg, Barlow Twins, W-MSE: what they are indifferent to, what they refuse."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from embedkit.errors import DataError, RecipeError, TrainingError
from embedkit.objectives.decorrelation import covariance, whitened
from tests.objectives import options as o
from tests.objectives.batches import WEIGHT, batch
from tests.objectives.helpers import loss_of

EVERY = [o.VICReg(), o.BarlowTwins(), o.WMSE()]


def test_whitened_rows_have_the_identity_as_covariance() -> None:
    x = batch().query
    torch.testing.assert_close(covariance(whitened(x)), torch.eye(8).double(), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(covariance(x), torch.cov(x.T), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(covariance(x, biased=True), torch.cov(x.T, correction=0), rtol=1e-10, atol=1e-12)


def test_barlow_and_w_mse_see_no_scale_and_no_shift() -> None:
    e = batch()
    moved = replace(e, query=3 * e.query + 7, positive=0.5 * e.positive - 2)
    for config in (o.BarlowTwins(eps=1e-12), o.WMSE()):
        torch.testing.assert_close(loss_of(config, moved), loss_of(config, e), rtol=1e-9, atol=0)


def test_views_that_agree_leave_what_keeps_from_collapse() -> None:
    e = batch()
    same = replace(e, positive=e.query[:, None])
    assert float(loss_of(o.WMSE(), same)) == pytest.approx(0, abs=1e-12)
    collapsed = replace(same, query=torch.ones_like(e.query), positive=torch.ones_like(e.positive))
    assert float(loss_of(o.VICReg(), collapsed)) == pytest.approx(25 * (1 - 1e-2))  # the hinge alone, at its top
    assert float(loss_of(o.BarlowTwins(off_diagonal=0.0), collapsed)) == pytest.approx(8)


def test_groups_are_whitened_apart_and_drawn_by_the_step() -> None:
    e = batch()
    found = {float(loss_of(o.WMSE(size=6, eps=0.1), replace(e, step=step))) for step in (0, 0, 1)}
    assert len(found) == 2
    twice = loss_of(o.WMSE(size=6, eps=0.1, iterations=2), e)
    assert float(twice) not in found
    torch.testing.assert_close(loss_of(o.WMSE(size=12, iterations=3), e), loss_of(o.WMSE(), e), rtol=1e-10, atol=0)


@pytest.mark.parametrize("config", EVERY, ids=lambda c: c.name)
def test_they_say_what_they_need(config: o.ObjectiveConfig) -> None:
    for e, error, message in (
        (batch(p=2), DataError, "exactly one positive"),
        (batch(m=1), DataError, "no place for explicit negatives"),
        (batch(weight=WEIGHT), DataError, "cannot weight examples"),
        (batch(n=1), TrainingError, "two examples or more"),
    ):
        with pytest.raises(error, match=message):
            loss_of(config, e)
    assert "no negatives" in config.sees(64, 1, 0)


def test_what_cannot_be_whitened_is_said() -> None:
    with pytest.raises(TrainingError, match="12 rows in 16 dimensions is singular"):
        loss_of(o.WMSE(), batch(d=16))
    with pytest.raises(RecipeError, match="5 does not divide a batch of 12"):
        loss_of(o.WMSE(size=5), batch())
