"""The debiased loss and HCL: what they reduce to, where the estimate is cut off, what the weights do."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from embedkit.objectives.debiased import log_estimate
from tests.objectives import options as o
from tests.objectives.batches import ALL, batch, infonce, tangled
from tests.objectives.helpers import answer, assert_same_loss, gradients, leaves, loss_of


@pytest.mark.parametrize("directions", [("q-d",), ("q-d", "q-q"), ALL], ids=str)
def test_without_correction_and_weights_it_is_infonce(directions: tuple[o.Direction, ...]) -> None:
    e = tangled(batch(p=2, m=1))
    plain = infonce(temperature=0.2, directions=directions, partition="per_direction")
    ours = o.Debiased(temperature=0.2, tau_plus=0.0, directions=directions)
    assert_same_loss(lambda x: loss_of(ours, x), lambda x: loss_of(plain, x), e)


@settings(max_examples=80)
@given(st.floats(-15, 15), st.floats(-20, 20), st.floats(0, 0.9), st.floats(0.05, 1))
def test_the_estimate_is_the_formula(mean: float, positive: float, tau_plus: float, temperature: float) -> None:
    got, cut = log_estimate(
        torch.tensor(mean, dtype=torch.float64), torch.tensor(positive, dtype=torch.float64), tau_plus, temperature
    )
    raw = (math.exp(mean) - tau_plus * math.exp(positive)) / (1 - tau_plus)
    floor = math.exp(-1 / temperature)
    if tau_plus == 0:
        assert float(got) == mean and not bool(cut)
    elif abs(raw - floor) > 1e-9 * math.exp(abs(mean) + abs(positive)):
        assert bool(cut) == (raw <= floor)
        assert float(got) == pytest.approx(math.log(max(raw, floor)), abs=1e-5)


def test_the_mean_of_equal_negatives_is_their_similarity() -> None:
    """All cosines equal: w is 1, the estimate is e^s itself, so the loss is log(1 + M) whatever tau_plus and beta."""
    e = batch(n=5, m=2)
    e = replace(e, **{f: torch.ones_like(getattr(e, f)) for f in ("query", "positive", "negative")})
    for options in ({}, {"beta": 3.0}, {"tau_plus": 0.5, "beta": 1.0}):
        assert float(loss_of(o.Debiased(**options), e)) == pytest.approx(math.log(1 + 4 + 10))


def pair_against_one(positive: float, negative: float) -> o.Embeddings:
    """Two examples whose queries see one negative at this cosine."""

    def at(cosine: float) -> torch.Tensor:
        return torch.tensor([cosine, math.sqrt(1 - cosine**2), 0.0], dtype=torch.float64)

    q = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)
    e = batch(n=2, m=1, d=3)
    e = replace(e, query=q.expand(2, 3), positive=at(positive).expand(2, 1, 3), negative=at(negative).expand(2, 1, 3))
    return leaves(replace(e, positive_id=e.positive_id[:1].expand(2, 1)))  # the same document: no negative


@pytest.mark.parametrize(("gap", "saturated"), [(0.10, 0.0), (0.13, 1.0)])
def test_it_saturates_where_the_options_say(gap: float, saturated: float) -> None:
    config = o.Debiased(temperature=0.05, tau_plus=0.1)
    assert config.gap == pytest.approx(0.115, abs=1e-3)
    e = pair_against_one(0.5 + gap, 0.5)
    out = answer(config, e)
    assert float(out.metrics["saturated"]) == saturated
    pull = gradients(out.value.sum(), e)["negative"]
    assert bool(pull.any()) == (saturated == 0)


def test_options_that_do_not_saturate() -> None:
    assert o.Debiased().gap == pytest.approx(1.151, abs=1e-3)
    assert o.Debiased(tau_plus=0.0).gap == math.inf


def test_beta_moves_weight_to_the_harder_negatives() -> None:
    shares = []
    for beta in (0.0, 1.0, 4.0):
        e = leaves(batch(m=3))
        pull = gradients(answer(o.Debiased(tau_plus=0.0, beta=beta), e).value[0], e)["negative"][0].norm(dim=1)
        shares.append(float(pull.max() / pull.sum()))
    assert shares[0] < shares[1] < shares[2]


def test_detached_weights_change_the_gradient_and_not_the_value() -> None:
    e = leaves(batch(m=1))
    attached, detached = (loss_of(o.Debiased(beta=1.0, detach_weights=d), e) for d in (False, True))
    torch.testing.assert_close(attached, detached)
    assert float((gradients(attached, e)["query"] - gradients(detached, e)["query"]).norm()) > 1e-3


def test_weights_of_beta_are_needed_to_detach_them() -> None:
    with pytest.raises(ValueError, match="beta"):
        o.Debiased(detach_weights=True)
