"""ConR and SupReMix: who counts, and what they say they need."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from embedkit.errors import DataError
from embedkit.objectives.base import build, set_up
from tests.objectives import options as o
from tests.objectives.batches import N, batch, graded
from tests.objectives.helpers import answer, loss_of, make

EVERY = [o.ConR(), o.SupReMix()]


@pytest.mark.parametrize("config", EVERY, ids=lambda c: c.name)
def test_they_say_what_they_need(config: o.ObjectiveConfig) -> None:
    assert config.roles() == {"query", "score"} and not config.explicit
    with pytest.raises(DataError, match="needs 1 score"):
        loss_of(config, batch(p=0))
    with pytest.raises(DataError, match="no place for explicit negatives"):
        loss_of(config, batch(m=1, score=graded()))


def test_conr_pushes_only_what_the_regression_confuses() -> None:
    objective = make(o.ConR(window=0.3))
    e = batch(p=0, score=torch.linspace(0, 1, N).double()[:, None])
    alike, apart = torch.zeros(N, 1).double(), 10 * torch.arange(N).double()[:, None]
    rows = torch.arange(N)
    assert float(objective.contrast(e, rows, apart)[0].sum()) == 0
    confused, metrics = objective.contrast(e, rows, alike)
    assert bool((confused > 0).all())
    gaps = (e.score - e.score.T).abs()
    assert float(metrics["negatives"]) == float((gaps > 0.3).sum(1).double().mean())


def test_the_regression_is_drawn_from_the_seed_and_trains() -> None:
    state = torch.get_rng_state()
    weights = []
    for seed in (0, 0, 1):
        objective = build(o.ConR())
        set_up(objective, 8, seed)
        weights.append(next(objective.parameters()))
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])
    assert torch.equal(state, torch.get_rng_state())
    inside = build(o.Sum(terms=(o.SumTerm(objective=o.CoSENT()), o.SumTerm(objective=o.ConR()))))
    set_up(inside, 8, 0)
    assert [tuple(p.shape) for p in inside.parameters()] == [(1, 8), (1,)]


def test_numbers_that_nobody_shares_need_bins() -> None:
    e = batch(p=0, score=torch.linspace(0, 1, N).double()[:, None])
    out = answer(o.SupReMix(mix=False), e)
    assert out.weight is not None and float(out.weight.sum()) == 0
    binned = answer(o.SupReMix(mix=False, bins=0.5), e)
    assert binned.weight is not None and float(binned.weight.sum()) == N


def test_mixtures_are_drawn_by_the_step() -> None:
    e = batch(p=0, score=graded())
    found = [float(loss_of(o.SupReMix(window=0.5), replace(e, step=step))) for step in (3, 3, 4)]
    assert found[0] == found[1] != found[2]


def test_between_two_numbers_lies_a_positive() -> None:
    """The middle one of three numbers has no equal, and the mixture of the others."""
    e = batch(p=0, n=3, score=torch.tensor([[0.0], [0.4], [1.0]]).double())
    out = answer(o.SupReMix(window=0.7), e)
    assert out.weight is not None and out.weight.tolist() == [0, 1, 0]
    assert float(out.metrics["positives"]) == pytest.approx(1 / 3)
