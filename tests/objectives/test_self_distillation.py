"""SwAV and BYOL: codes, queue, predictor, copy."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from embedkit.errors import DataError, RecipeError, TrainingError
from embedkit.objectives.base import Objective, build, set_up
from embedkit.objectives.byol import BYOL
from embedkit.objectives.swav import SwAV, sinkhorn
from tests.objectives import options as o
from tests.objectives.batches import batch, followed
from tests.objectives.helpers import average, gradients, leaves, loss_of, make, remember


def fresh(config: o.ObjectiveConfig) -> Objective:
    """Before it has seen anything."""
    objective = build(config)
    set_up(objective, 8, 0)
    return objective.double()


EVERY = [o.SwAV(prototypes=4), o.BYOL(momentum=None)]


@pytest.mark.parametrize("config", EVERY, ids=lambda c: c.name)
def test_they_say_what_they_need(config: o.ObjectiveConfig) -> None:
    with pytest.raises(DataError, match="needs a positive"):
        loss_of(config, batch(p=0))
    with pytest.raises(DataError, match="no place for explicit negatives"):
        loss_of(config, batch(m=1))
    assert "no negatives" in config.sees(64, 1, 0) and config.learns


def test_sinkhorn_shares_texts_out_equally() -> None:
    scores = torch.rand(12, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    codes = sinkhorn(scores, 0.05, 200)
    torch.testing.assert_close(codes.sum(1), torch.ones(12).double())
    torch.testing.assert_close(codes.sum(0), torch.full((4,), 3.0).double(), rtol=1e-6, atol=0)
    torch.testing.assert_close(sinkhorn(torch.ones(12, 4), 0.05, 3), torch.full((12, 4), 0.25))


def test_codes_do_not_overflow_in_single_precision() -> None:
    scores = torch.eye(6, 3)
    codes = sinkhorn(scores, 1e-3, 3)
    assert bool(codes.isfinite().all())
    torch.testing.assert_close(codes.sum(1), torch.ones(6))


def test_the_queue_joins_the_codes_view_by_view() -> None:
    objective = fresh(o.SwAV(prototypes=3, queue=20))
    assert isinstance(objective, SwAV)
    e = batch()
    alone = average(objective, e)
    remember(objective, [batch(seed=1), batch(seed=2)])
    assert objective.memory.vector.shape == (20, 2, 8)
    assert float(average(objective, e).detach()) != float(alone.detach())
    none = fresh(o.SwAV(prototypes=3, queue=0))
    assert isinstance(none, SwAV)
    remember(none, [batch(seed=1)])
    assert len(none.memory) == 0 and not none.remembers
    torch.testing.assert_close(average(none, e), alone)


def test_prototypes_wait_and_then_train() -> None:
    objective = make(o.SwAV(prototypes=4, queue=0, freeze=5))
    for step, trains in ((4, False), (5, True)):
        e = leaves(replace(batch(), step=step))
        found = gradients(average(objective, e), e, tuple(objective.parameters()))
        assert bool(found["parameter 0"].any()) == trains and bool(found["query"].any())
    with pytest.raises(RecipeError, match="3 views have codes, and the batch has 2"):
        loss_of(o.SwAV(code_views=3), batch())


def test_byol_takes_the_copy_as_a_constant() -> None:
    e = followed(batch())
    objective = make(o.BYOL())
    assert e.target is not None
    moved = replace(e, target=replace(e.target, query=e.target.query + 1))
    assert float(average(objective, moved).detach()) != float(average(objective, e).detach())
    with pytest.raises(RecipeError, match="asks a copy of the encoder"):
        loss_of(o.BYOL(), batch())
    with pytest.raises(TrainingError, match="batch norm needs two examples"):
        loss_of(o.BYOL(momentum=None), batch(n=1))
    assert o.BYOL().target_momentum == 0.996 and o.BYOL(momentum=None).target_momentum is None


def test_a_predictor_that_says_what_it_sees_leaves_nothing() -> None:
    objective = fresh(o.BYOL(momentum=None, hidden=16, batch_norm=False))
    assert isinstance(objective, BYOL)
    eye = torch.eye(8, dtype=torch.float64)
    both = torch.cat([eye, -eye])
    objective.first.weight.data, objective.second.weight.data = both, both.T.contiguous()
    e = batch()
    same = replace(e, positive=e.query[:, None])
    assert float(average(objective, same).detach()) == pytest.approx(0, abs=1e-12)
    cosine = torch.nn.functional.cosine_similarity(e.query, e.positive[:, 0]).mean()
    torch.testing.assert_close(average(objective, e).detach(), 2 - 2 * cosine)
