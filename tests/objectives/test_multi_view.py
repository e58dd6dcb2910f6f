"""Objectives among several views, and DCL."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from embedkit.errors import DataError
from embedkit.objectives.base import build
from embedkit.objectives.decoupled import DCL
from tests.objectives import options as o
from tests.objectives.batches import ALL, batch, knotted
from tests.objectives.helpers import answer, assert_same_loss, leaves, loss_of

VIEWS = (o.MVInfoNCE(), o.MVDHEL(), o.PolyView())


def test_poly_view_of_two_views_is_nt_xent() -> None:
    nt_xent = o.InfoNCE(temperature=0.3, directions=ALL, partition="per_direction")
    assert_same_loss(lambda e: loss_of(o.PolyView(temperature=0.3), e), lambda e: loss_of(nt_xent, e), batch(n=6))


@pytest.mark.parametrize("config", VIEWS, ids=lambda c: c.name)
def test_a_text_without_others_counts_nothing(config: o.ObjectiveConfig) -> None:
    e = batch(p=2, n=4)
    out = answer(config, replace(e, known_id=torch.cat([e.query_id.repeat(4, 1)[:1], torch.zeros(3, 4).long()])))
    assert out.weight is not None and out.weight.tolist() == [0, 1, 1, 1]
    assert bool(out.value.isfinite().all())


def test_many_views_at_a_small_temperature_do_not_overflow() -> None:
    """The authors' product of partition functions would: e^20 per candidate, five views."""
    e = leaves(batch(p=4, n=256, d=16), torch.float32)
    e = replace(e, query=e.query + 3, positive=e.positive + 3)
    for config in (o.MVDHEL(temperature=0.02), o.MVInfoNCE(temperature=0.02)):
        assert bool(loss_of(config, e).isfinite())


@pytest.mark.parametrize("config", VIEWS, ids=lambda c: c.name)
def test_they_say_what_they_need(config: o.ObjectiveConfig) -> None:
    with pytest.raises(DataError, match="needs a positive"):
        loss_of(config, batch(p=0))
    with pytest.raises(DataError, match="no place for explicit negatives"):
        loss_of(config, batch(m=1))


def test_dcl_without_sigma_is_infonce_without_the_positive() -> None:
    options = {"temperature": 0.2, "directions": ALL, "partition": "per_direction"}
    plain = o.InfoNCE(positive_in_denominator="never", **options)
    assert_same_loss(lambda e: loss_of(o.DCL(**options), e), lambda e: loss_of(plain, e), knotted(batch(m=1)))


def test_dclw_weighs_by_the_whole_batch_with_mean_one() -> None:
    """Rows asked for alone get the weights of the whole: the sum of w over the batch is its size."""
    e = batch(n=6)
    sigma, gained = 0.5, []

    objective = build(o.DCL(sigma=sigma))
    assert isinstance(objective, DCL)
    for i in range(6):
        lifted = objective.lift(e, torch.tensor([i]), torch.ones(1, 1, dtype=torch.float64))
        gained.append(1 - float(torch.as_tensor(lifted)))
    assert sum(gained) == pytest.approx(6.0) and min(gained) < 1 < max(gained)
