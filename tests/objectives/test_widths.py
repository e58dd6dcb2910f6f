"""What the plan says of a matrix is what the objective builds."""

from __future__ import annotations

import pytest

from tests.objectives import options as o
from tests.objectives.batches import batch
from tests.objectives.helpers import make


@pytest.mark.parametrize(
    ("config", "width"),
    [
        (o.DCLR(noise_times=2.5), 12 * 2 + 30),
        (o.MACL(), 24),
        (o.EnergyHinge(), 24),
        (o.SupCon(), 2 * 12 * 2),
        (o.DCL(), 12 * 2),
        (o.KCL(), 12),
        (o.MVInfoNCE(), 2 * 12 * 2),
        (o.MVDHEL(), 2 * 12),
        (o.PolyView(), 2 * 12 * 2),
        (o.CACR(), 2 * 12 * 2),
        (o.CWCL(), 24),
        (o.OneToK(), 24),
        (o.GroCo(top_k=4), 2 * 125),
        (o.Symile(negatives="all"), 12),
        (o.CACRKeys(), 2 * 12),
        (o.MultiSimilarity(), 2 * 12 * 2),
        (o.LabelTriplet(), 2 * 24 * 24),
        (o.LabelTriplet(triplets="hardest"), 2 * 24),
    ],
)
def test_the_plan_s_width_is_the_objective_s(config: o.ObjectiveConfig, width: int) -> None:
    assert config.columns(12, 1, 1) == make(config).columns(batch(m=1)) == width
