"""The losses on edited negatives: what they become at the ends of their options."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError

from embedkit.errors import DataError
from tests.objectives import options as o
from tests.objectives.batches import batch, infonce, tangled
from tests.objectives.helpers import answer, assert_same_loss, loss_of


def test_without_focus_and_smoothing_it_is_the_cross_entropy_of_the_own_candidates() -> None:
    plain = o.FocalSmoothed(gamma=0.0, smoothing=0.0, temperature=0.1)
    assert_same_loss(lambda x: loss_of(plain, x), lambda x: loss_of(o.LCE(temperature=0.1), x), tangled(batch(m=3)))


def test_what_is_told_apart_already_pushes_little() -> None:
    e = batch(m=2)
    hard, easy = (answer(o.FocalSmoothed(gamma=g, smoothing=0.0), e).value for g in (0.0, 2.0))
    p = (-hard).exp()
    torch.testing.assert_close(easy, (1 - p) ** 2 * hard)


def test_an_absent_negative_competes_only_as_released() -> None:
    e = tangled(batch(m=2))
    lone = int((~e.negative_mask).all(1).nonzero()[0])
    for absent, value in (("mask", 0.0), ("zero", None)):
        out = answer(o.FocalSmoothed(absent=absent, smoothing=0.0), e)
        assert out.weight is not None and out.weight[lone] == 0
        assert (out.value[lone] == value) if value is not None else (out.value[lone] > 0)


def test_it_needs_negatives() -> None:
    with pytest.raises(DataError, match="focal_smoothed"):
        answer(o.FocalSmoothed(), batch())


def test_a_uniform_guess_is_one_in_either_direction_whatever_the_number_of_candidates() -> None:
    for m in (0, 3):
        e = batch(m=m)
        e = replace(e, query=torch.ones_like(e.query), positive=torch.ones_like(e.positive))
        e = replace(e, negative=torch.ones_like(e.negative))
        for weights in ({"query_weight": 1.0, "document_weight": 0.0}, {"query_weight": 0.0, "document_weight": 1.0}):
            value = answer(o.HardNegativeNCE(**weights), e).value
            torch.testing.assert_close(value, torch.ones_like(value))


def test_without_the_logs_it_is_infonce_with_own_negatives() -> None:
    options = {"directions": ("q-d", "d-q"), "partition": "per_direction", "other_negatives": False}
    ours = o.HardNegativeNCE(temperature=0.1, query_weight=0.5, document_weight=0.5, normalize=False)
    e = tangled(batch(m=2))
    assert_same_loss(lambda x: loss_of(ours, x), lambda x: loss_of(infonce(**options), x), e)


def test_beta_makes_the_near_negatives_count_for_the_others() -> None:
    e = batch(m=2)
    value = answer(o.HardNegativeNCE(temperature=0.1, document_weight=0.0, query_weight=1.0, beta=40.0), e).value
    unit = torch.nn.functional.normalize
    q, d = unit(e.query, dim=-1), unit(torch.cat([e.positive, e.negative], 1), dim=-1)
    for i in range(3):
        others = torch.cat([d[[j for j in range(len(e)) if j != i], 0], d[i, 1:]]) @ q[i]
        n = len(others)
        want = torch.log1p(n * ((others.max() - q[i] @ d[i, 0]) / 0.1).exp()) / math.log(1 + n)
        torch.testing.assert_close(value[i], want, rtol=0.05, atol=0)


def test_something_must_be_weighed() -> None:
    with pytest.raises(ValidationError, match="nothing is left"):
        o.HardNegativeNCE(query_weight=0.0, document_weight=0.0)
