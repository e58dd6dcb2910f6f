"""DCLR: noise, false negatives in both variants, what it refuses."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from embedkit.errors import DataError
from embedkit.objectives.dclr import ascend, binary_cross_entropies, draw_noise
from embedkit.objectives.logits import unit
from tests.objectives import options as o
from tests.objectives.batches import batch, guided
from tests.objectives.helpers import answer, loss_of


def test_the_noise_depends_on_the_step_alone() -> None:
    like = torch.zeros(1, 8).double()
    torch.manual_seed(0)
    state = torch.get_rng_state()
    first, again, later = draw_noise(6, like, 3), draw_noise(6, like, 3), draw_noise(6, like, 4)
    assert torch.equal(first, again) and not torch.equal(first, later)
    assert torch.equal(torch.get_rng_state(), state)
    torch.testing.assert_close(draw_noise(6, like.float(), 3).double(), first)


@pytest.mark.parametrize("with_documents", [True, False])
def test_the_ascent_is_that_of_autograd_whatever_the_blocks(
    with_documents: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    e = batch()
    query, documents = unit(e.query), unit(e.positive[:, 0])
    noise = draw_noise(7, query, 0)
    x = noise.clone().requires_grad_()
    logits = query @ torch.nn.functional.normalize(x, dim=1).T / 0.05
    parts = [query @ documents.T / 0.05, logits] if with_documents else [logits]
    (gradient,) = torch.autograd.grad(torch.logsumexp(torch.cat(parts, 1), 1).mean(), x)
    want = noise + 0.3 * gradient / gradient.norm(dim=1, keepdim=True)
    for size in (100, 5):
        monkeypatch.setattr("embedkit.objectives.dclr.rows_per_block", lambda *_, size=size: size)
        got = ascend(noise, query, documents if with_documents else None, temperature=0.05, steps=1, length=0.3)
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-12)


def test_steps_make_the_noise_harder() -> None:
    e = guided(batch())
    losses = [float(loss_of(o.DCLR(noise_steps=n, step_length=0.2), e)) for n in (0, 5, 20)]
    assert losses == sorted(losses)


def test_binary_cross_entropies_do_not_overflow_where_a_negative_has_probability_one() -> None:
    logits = torch.tensor([[0.0, 60.0, -3.0]], requires_grad=True)
    target, exists = torch.tensor([[True, False, False]]), torch.ones(1, 3, dtype=torch.bool)
    values = binary_cross_entropies(logits, target, exists)
    exact = torch.tensor([[60.0, 60 - math.log1p(math.exp(-3)), 0.0]])
    torch.testing.assert_close(values, exact, rtol=1e-6, atol=1e-6)
    (gradient,) = torch.autograd.grad(values.sum(), logits)
    assert bool(gradient.isfinite().all()) and float(gradient[0, 1]) == pytest.approx(2.0, rel=1e-5)


def test_released_false_negatives_keep_a_place_and_the_paper_s_do_not() -> None:
    """With every other document a false negative and no noise: N - 1 logits of 0, or nothing at all."""
    e = guided(batch())
    all_false: dict[str, Any] = {"phi": -0.999, "noise_times": 0.0}
    n, out = len(e), answer(o.DCLR(**all_false), e)
    cosine = (unit(e.query) * unit(e.positive[:, 0])).sum(1) / 0.05
    p = cosine.exp() / (cosine.exp() + n - 1)
    torch.testing.assert_close(out.value, -(p.log() + (n - 1) * (1 - (1 - p) / (n - 1)).log()) / n)
    assert out.weight is not None and bool((out.weight == 1).all())
    weight = answer(o.DCLR(variant="paper", **all_false), e).weight
    assert weight is not None and not weight.any()


def test_dclr_takes_one_pair() -> None:
    with pytest.raises(DataError, match="exactly one positive"):
        loss_of(o.DCLR(), guided(batch(p=2)))
    with pytest.raises(ValidationError, match="noise_temperature belongs to variant: paper"):
        o.DCLR(noise_temperature=0.1)
