"""Weighting pieces: identity at zero, direction of their effect, and that they compose."""

from __future__ import annotations

from itertools import permutations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from embedkit.errors import RecipeError
from embedkit.objectives import weighting
from embedkit.recipe.weighting import Dynamic, Focal, Hardness
from embedkit.types import Embeddings
from tests.objectives.batches import batch, infonce, tangled
from tests.objectives.helpers import answer, assert_same_loss, gradients, leaves, loss_of

IDENTITIES = [
    Focal(gamma=0.0),
    Focal(gamma=0.0, detach=False),
    Focal(gamma=0.0, normalize="weight"),
    Hardness(alpha=0.0),
    Hardness(alpha=0.0, on="in_batch"),
    Hardness(alpha=0.0, on="all"),
]


@pytest.mark.parametrize("piece", IDENTITIES, ids=repr)
def test_zero_strength_changes_nothing(piece: Focal | Hardness) -> None:
    e = tangled(batch(p=2, m=2))
    assert_same_loss(lambda e: loss_of(infonce(), e, [piece]), lambda e: loss_of(infonce(), e), e)


@settings(max_examples=50)
@given(st.floats(0, 5), st.lists(st.floats(-30, 0), min_size=2, max_size=6))
def test_the_focal_factor_falls_with_the_probability(gamma: float, log_p: list[float]) -> None:
    values = torch.tensor(sorted(log_p), dtype=torch.float64)[None]
    factor = weighting.Focal(gamma).rows(values)[0]
    assert bool((factor.diff() <= 1e-12).all())
    assert bool((factor >= 0).all()) and bool((factor <= 1).all())


def test_the_focal_factor_keeps_its_digits_where_p_is_nearly_one() -> None:
    log_p = torch.tensor([[-1e-9]])
    assert float(weighting.Focal(1.0).rows(log_p)) == pytest.approx(1e-9, rel=1e-5)


def test_focal_is_one_minus_exp_of_the_loss_to_the_gamma() -> None:
    e = tangled(batch(m=1))
    plain, focal = answer(infonce(), e), answer(infonce(), e, [Focal(gamma=0.5)])
    torch.testing.assert_close(focal.value, (1 - torch.exp(-plain.value)) ** 0.5 * plain.value)
    torch.testing.assert_close(focal.weight, plain.weight)
    weighted = answer(infonce(), e, [Focal(gamma=0.5, normalize="weight")])
    torch.testing.assert_close(weighted.value, plain.value)
    torch.testing.assert_close(weighted.weight, (1 - torch.exp(-plain.value)) ** 0.5 * plain.weight)


def test_detached_focal_scales_the_row_gradient_and_attached_does_not() -> None:
    def row_gradient(pieces: list[Focal]) -> torch.Tensor:
        e = leaves(batch())
        return gradients(answer(infonce(), e, pieces).value[0], e)["query"][0]

    plain = row_gradient([])
    factor = float((1 - torch.exp(-answer(infonce(), batch()).value[0])) ** 2)
    torch.testing.assert_close(row_gradient([Focal(gamma=2.0)]), factor * plain)
    attached = row_gradient([Focal(gamma=2.0, detach=False)])
    assert float((attached - factor * plain).norm()) > 0.1 * float(plain.norm()) * factor


def test_attached_focal_has_a_gradient_where_p_is_one() -> None:
    """The slope of (1 - p)^0.5 is infinite there; the loss it multiplies is zero."""
    query = torch.eye(4)
    e = batch(n=4, d=4)
    e = leaves(Embeddings(**{**vars(e), "query": query, "positive": query[:, None]}), torch.float32)
    loss = loss_of(infonce(temperature=0.005), e, [Focal(gamma=0.5, detach=False)])
    assert float(loss.detach()) == 0
    assert all(bool(g.isfinite().all()) for g in gradients(loss, e).values())


def test_focal_by_weight_does_not_change_with_the_scale_of_the_factors() -> None:
    """All rows equally hard: dividing by the weights gives the plain loss, dividing by the count does not."""
    same = torch.eye(4, dtype=torch.float64)
    e = batch(n=4, d=4)
    e = Embeddings(**{**vars(e), "query": same, "positive": same[:, None]})
    plain = loss_of(infonce(temperature=1.0), e)
    torch.testing.assert_close(loss_of(infonce(temperature=1.0), e, [Focal(gamma=3.0, normalize="weight")]), plain)
    assert float(loss_of(infonce(temperature=1.0), e, [Focal(gamma=3.0)])) < 0.9 * float(plain)


@pytest.mark.parametrize("on", ["own", "in_batch", "all"])
def test_hardness_moves_weight_to_the_harder_negatives(on: str) -> None:
    """The gradient of a row on its chosen negatives is reshaped by exp(alpha s): harder ones get more of it."""
    e = leaves(batch(m=3))
    shares = []
    for alpha in (0.0, 2.0, 8.0):
        fresh = leaves(e)
        found = gradients(answer(infonce(), fresh, [Hardness(alpha=alpha, on=on)]).value[0], fresh)
        chosen = found["negative"][0] if on != "in_batch" else found["positive"][1:, 0]
        strength = chosen.norm(dim=1)
        shares.append(float(strength.max() / strength.sum()))
    assert shares[0] < shares[1] < shares[2]


def test_hardness_is_a_constant() -> None:
    """alpha * stop_gradient(s) is a log-weight: with the weights frozen by hand the gradient is the same."""
    e = leaves(batch(m=1))
    unit = torch.nn.functional.normalize
    q, p, n = unit(e.query, dim=1), unit(e.positive[:, 0], dim=1), unit(e.negative[:, 0], dim=1)
    frozen = 3.0 * (q * n).sum(1).detach()
    negatives = q @ n.T / 0.1 + torch.diag(frozen)
    want = torch.nn.functional.cross_entropy(torch.cat([q @ p.T / 0.1, negatives], 1), torch.arange(len(e)))
    got = loss_of(infonce(), e, [Hardness(alpha=3.0)])
    torch.testing.assert_close(got, want)
    for a, b in zip(gradients(got, e).values(), gradients(want, e).values(), strict=True):
        torch.testing.assert_close(a, b)


def test_pieces_compose_in_any_order() -> None:
    e = tangled(batch(m=2))
    pieces = [Hardness(alpha=2.0), Focal(gamma=0.5), Focal(gamma=1.0, normalize="weight")]
    want = loss_of(infonce(), e, pieces)
    for order in permutations(pieces):
        torch.testing.assert_close(loss_of(infonce(), e, list(order)), want, rtol=1e-13, atol=0)
    two = [Focal(gamma=0.5), Focal(gamma=0.25)]
    torch.testing.assert_close(loss_of(infonce(), e, two), loss_of(infonce(), e, [Focal(gamma=0.75)]))


def test_attached_weights_cannot_divide() -> None:
    with pytest.raises(RecipeError, match="constants"):
        weighting.Focal(detach=False, normalize="weight")
    with pytest.raises(ValueError, match="detach"):
        Focal(detach=False, normalize="weight")


def factors(losses: list[float], **options: object) -> torch.Tensor:
    x = torch.tensor(losses, dtype=torch.float64)
    found = weighting.Dynamic(**options).batch(x, x, torch.ones(len(x), dtype=torch.bool))
    return found / found.sum()


def test_what_each_strategy_prefers() -> None:
    losses = [0.0, 1.0, 2.0, 3.0, 4.0]
    upper = factors(losses)
    assert bool((upper.diff()[:2] > 0).all())
    torch.testing.assert_close(upper[2:], upper[2:3].expand(3))  # all above the middle weigh the same
    assert bool((factors(losses, strategy="uniform").diff() > 0).all())
    assert int(factors(losses, strategy="quadratic").argmax()) == 2
    extremes = factors(losses, strategy="extremes")
    assert int(extremes.argmin()) == 2 and float(extremes[0]) == pytest.approx(float(extremes[4]))


def test_equal_losses_and_a_large_r_weigh_all_rows_alike() -> None:
    torch.testing.assert_close(factors([3.0] * 4), torch.full((4,), 0.25, dtype=torch.float64))
    torch.testing.assert_close(factors([0.0, 1.0, 9.0], r=1e6), torch.full((3,), 1 / 3).double(), rtol=1e-5, atol=0)


def test_dynamic_weights_are_of_the_whole_batch_and_constant() -> None:
    e = leaves(tangled(batch(m=1)))
    plain, dynamic = answer(infonce(), e), answer(infonce(), e, [Dynamic(strategy="uniform", r=0.3)])
    torch.testing.assert_close(dynamic.value, plain.value)
    assert dynamic.weight is not None and plain.weight is not None and not dynamic.weight.requires_grad
    assert bool((dynamic.weight[plain.weight > 0] > 0).all()) and not dynamic.weight[plain.weight == 0].any()
    order = plain.value.detach().argsort()
    assert bool((dynamic.weight[order][plain.weight[order] > 0].diff() >= 0).all())
