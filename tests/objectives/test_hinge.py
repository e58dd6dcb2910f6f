"""The energy hinge."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests.objectives import options as o
from tests.objectives.batches import batch
from tests.objectives.helpers import answer, loss_of


def test_the_hinge_is_zero_where_every_positive_wins_by_the_margin() -> None:
    e = replace(batch(d=8, n=4), query=torch.eye(8)[:4].double(), positive=torch.eye(8)[:4, None].double())
    assert float(loss_of(o.EnergyHinge(margin=0.9), e)) == 0
    assert float(loss_of(o.EnergyHinge(margin=1.25), e)) == pytest.approx(0.25)


def test_the_hinge_ignores_known_matches() -> None:
    e = batch(n=2)
    e = replace(e, positive_id=e.positive_id[:1].expand(2, 1))  # one text answers both: no negative is left
    weight = answer(o.EnergyHinge(), e).weight
    assert weight is not None and not weight.any()
