"""Feature transformation: the pair is drawn apart, the queue is mixed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from tests.objectives import options as o
from tests.objectives.batches import batch
from tests.objectives.helpers import make


def transformed(**options: Any) -> Any:
    return make(o.FeatureTransform(momentum=None, queue=9, **options))


def test_a_pair_drawn_apart_is_harder_by_the_formula() -> None:
    objective, e = transformed(), batch(n=5)
    q, k = (x / x.norm(dim=-1, keepdim=True) for x in (e.query, e.positive))
    drawn, positive = objective.pairs(e, q, k)
    apart, s = objective.draw(e).apart, (q[:, None] * k).sum(-1)
    assert 1 <= apart <= 2
    torch.testing.assert_close(positive, s + 2 * apart * (1 - apart) * (1 - s))
    assert bool((positive <= s).all()) and bool((drawn.norm(dim=-1) > 1).all())


def test_a_mixture_with_a_known_match_is_left_out() -> None:
    objective, e = transformed(), batch(n=3)
    usable = torch.ones(3, 9, dtype=torch.bool)
    usable[1, 4] = False
    _, kept = objective.negatives(e, objective.memory.key, usable)
    gone = {4, int((objective.draw(e).order == 4).nonzero())}
    assert [bool(kept[1, j]) for j in range(9)] == [j not in gone for j in range(9)]
    assert bool(kept[0].all()) and bool(kept[2].all())


def test_the_draws_are_those_of_the_step_and_the_queue_keeps_its_keys() -> None:
    objective, e = transformed(), batch(n=5)
    before = objective.memory.key.clone()
    drawn = [objective.draw(replace(e, step=step)).apart for step in (1, 1, 2)]
    objective(e, torch.arange(5))
    assert drawn[0] == drawn[1] != drawn[2] and torch.equal(objective.memory.key, before)


def test_one_of_both_is_transformed() -> None:
    with pytest.raises(ValidationError, match="without both alphas is moco"):
        o.FeatureTransform(positive_alpha=None, negative_alpha=None)
