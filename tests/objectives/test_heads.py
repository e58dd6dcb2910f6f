"""Batch heads: what they compute, that missing texts stay out, and that they are exact about gradients and seeds."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from embedkit.errors import RecipeError, TrainingError
from embedkit.objectives.base import BatchHead, build_heads
from embedkit.objectives.heads import ShuffledGroupWhitening, group_whitening
from embedkit.recipe import heads as h
from embedkit.recipe import registry

D = 12
OPTIONS: dict[str, h.HeadConfig] = {
    "batch_norm_projector": h.BatchNormProjector(),
    "shuffled_group_whitening": h.ShuffledGroupWhitening(groups=3),
    "mlp": h.MLP(dim=5, activation="gelu"),
}


def pool(n: int = 40, s: int = 3, *, missing: bool = True, seed: int = 0) -> tuple[Tensor, Tensor]:
    """[n, s, D] correlated values and which are there."""
    rng = torch.Generator().manual_seed(seed)
    mix = torch.randn(D, D, generator=rng, dtype=torch.float64)
    values = torch.randn(n, s, D, generator=rng, dtype=torch.float64) @ mix + 0.5
    present = torch.ones(n, s, dtype=torch.bool)
    if missing:
        present[3, -1] = present[7:11, -1] = False
    return values.masked_fill(~present[..., None], 0.0), present


def one(config: h.HeadConfig, dim: int = D, seed: int = 0) -> BatchHead:
    (head,) = build_heads([config], dim, seed)
    return head.double()


def test_every_head_is_here() -> None:
    assert set(OPTIONS) == set(registry.names("head"))


@pytest.mark.parametrize("name", OPTIONS)
def test_missing_texts_enter_nothing_and_come_out_as_zeros(name: str) -> None:
    head, (values, present) = one(OPTIONS[name]), pool()
    out = head(values, present, 5)
    assert not out[~present].any() and bool(out[present].any(-1).all())
    garbage = torch.where(present[..., None], values, 1e6)
    torch.testing.assert_close(head(garbage, present, 5), out, rtol=0, atol=0)


@pytest.mark.parametrize("name", OPTIONS)
def test_the_order_of_examples_does_not_matter(name: str) -> None:
    head, (values, present) = one(OPTIONS[name]), pool()
    order = torch.randperm(len(values), generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(
        head(values[order], present[order], 5), head(values, present, 5)[order], rtol=1e-9, atol=1e-10
    )


@pytest.mark.parametrize("name", OPTIONS)
def test_setup_depends_on_the_seed_alone(name: str) -> None:
    torch.manual_seed(0)
    state = torch.get_rng_state()
    first, same, other = (one(OPTIONS[name], seed=s) for s in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    for p, q in zip(first.parameters(), same.parameters(), strict=True):
        assert torch.equal(p, q)
    weights = [p for p in first.parameters() if p.ndim == 2]
    assert not weights or not torch.equal(weights[0], next(p for p in other.parameters() if p.ndim == 2))


@pytest.mark.parametrize("name", [n for n in OPTIONS if n != "shuffled_group_whitening"])
def test_gradients_are_finite_differences(name: str) -> None:
    head, (values, present) = one(OPTIONS[name]), pool(6, 2, missing=False)
    assert torch.autograd.gradcheck(lambda v: head(v, present, 0), values.requires_grad_(), fast_mode=True)


@pytest.mark.parametrize("name", OPTIONS)
def test_the_size_of_the_output_is_known_before(name: str) -> None:
    config = OPTIONS[name]
    heads = build_heads([config, h.MLP(dim=7)], D, seed=0)
    values, present = pool()
    for head in heads:
        values = head.double()(values, present, 0)
    assert values.shape[-1] == 7


def test_bert_initialisation() -> None:
    head: Any = one(h.MLP(), dim=400)
    assert float(head.linear.weight.detach().std()) == pytest.approx(0.02, rel=0.02) and not head.linear.bias.any()
    projector: Any = one(h.BatchNormProjector(), dim=200)
    assert projector.first.weight.shape == (400, 200) and projector.second.weight.shape == (200, 400)
    assert float(projector.first.weight.detach().std()) == pytest.approx(0.02, rel=0.02)


def test_the_projector_normalises_all_texts_as_one_batch() -> None:
    values, present = pool()
    out = one(h.BatchNormProjector())(values, present, 0)[present]
    torch.testing.assert_close(out.mean(0), torch.zeros(D).double(), rtol=0, atol=1e-9)
    assert bool((out.var(0, unbiased=False) < 1 + 1e-9).all())
    with pytest.raises(TrainingError, match="two texts"):
        one(h.BatchNormProjector())(values[:1, :1], present[:1, :1], 0)


def covariance(x: Tensor) -> Tensor:
    centred = x - x.mean(0)
    return centred.T @ centred / len(x)


def test_whitening_makes_each_group_white() -> None:
    x = pool(missing=False)[0][:, 0]
    order = torch.randperm(D, generator=torch.Generator().manual_seed(2))
    white = group_whitening(x, order, 3)
    for group in order.view(3, 4):
        torch.testing.assert_close(covariance(white[:, group]), torch.eye(4).double(), rtol=0, atol=1e-9)
    torch.testing.assert_close(white.mean(0), torch.zeros(D).double(), rtol=0, atol=1e-10)
    whole = group_whitening(x, order, 1)
    torch.testing.assert_close(whole, group_whitening(x, torch.arange(D), 1), rtol=1e-8, atol=1e-9)


def test_each_coordinate_alone_is_standardised() -> None:
    x = pool(missing=False)[0][:, 0]
    want = (x - x.mean(0)) / (x.var(0, unbiased=False) + 1e-3).sqrt()
    torch.testing.assert_close(group_whitening(x, torch.arange(D).flip(0), D, eps=1e-3), want, rtol=1e-10, atol=1e-12)


def test_attached_gradients_are_finite_differences_also_with_equal_eigenvalues() -> None:
    x = pool(9, 1, missing=False)[0][:, 0].requires_grad_()
    order = torch.arange(D)
    assert torch.autograd.gradcheck(lambda v: group_whitening(v, order, 6, eps=0.1, gradient="attached"), x)
    corners = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]]).double().requires_grad_()  # covariance = identity
    assert torch.autograd.gradcheck(lambda v: group_whitening(v, order[:2], 1, gradient="attached"), corners)


def test_a_detached_matrix_is_a_constant() -> None:
    x = pool(missing=False)[0][:, 0].requires_grad_()
    order = torch.arange(D)
    probe = torch.randn(x.shape, generator=torch.Generator().manual_seed(4), dtype=x.dtype)
    (got,) = torch.autograd.grad((group_whitening(x, order, 1) * probe).sum(), x)
    values, vectors = torch.linalg.eigh(covariance(x.detach()))
    matrix = vectors / values.sqrt() @ vectors.T
    torch.testing.assert_close(got, (probe - probe.mean(0)) @ matrix, rtol=1e-8, atol=1e-9)


def test_permutations_differ_by_view_and_step() -> None:
    head = ShuffledGroupWhitening(groups=3)
    first, again, later = head.orders(D, 3, 1), head.orders(D, 3, 1), head.orders(D, 3, 2)
    assert torch.equal(first, again) and not torch.equal(first, later)
    assert not torch.equal(first[0], first[1]) and torch.equal(first.sort(1).values, torch.arange(D).expand(3, D))
    shared = ShuffledGroupWhitening(groups=3, permutation="shared").orders(D, 3, 1)
    assert torch.equal(shared[0], shared[2])


def test_whitening_refuses_what_it_cannot_do() -> None:
    with pytest.raises(RecipeError, match=r"(?s)5 groups do not divide embeddings of size 12.*e\.g\. 3"):
        build_heads([h.ShuffledGroupWhitening(groups=5)], D, seed=0)
    x = pool(missing=False)[0][:3, 0]
    with pytest.raises(TrainingError, match="singular"):
        group_whitening(torch.ones_like(x), torch.arange(D), 1)
    assert bool(group_whitening(x, torch.arange(D), 1, eps=1e-5).isfinite().all())


def test_a_slot_without_any_text_stays_empty() -> None:
    values, present = pool()
    present = present.clone()
    present[:, 2] = False
    values = values.masked_fill(~present[..., None], 0.0)
    for config in OPTIONS.values():
        assert not one(config)(values, present, 0)[:, 2].any()


def test_options_survive_a_round_trip_through_plain_data() -> None:
    for name, config in OPTIONS.items():
        entry = registry.lookup("head", name)
        assert registry.resolve(entry.config).model_validate(config.model_dump(mode="json")) == config
