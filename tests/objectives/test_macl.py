"""MACL: the temperature that follows the positives."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from embedkit.errors import TrainingError
from embedkit.objectives.logits import unit
from tests.objectives import options as o
from tests.objectives.batches import batch, infonce
from tests.objectives.helpers import answer, gradients, leaves, loss_of, make


def test_macl_without_alpha_has_the_gradient_of_reweighted_infonce() -> None:
    e = leaves(batch())
    out = answer(o.MACL(tau0=0.1, alpha=0.0), e)
    plain = answer(infonce(temperature=0.1), e)
    p = (-plain.value.detach()).exp()
    torch.testing.assert_close(out.value, plain.value / (1 - p))
    got, want = gradients(out.value.sum(), e), gradients((plain.value / (1 - p)).sum(), e)
    torch.testing.assert_close(got["query"], want["query"], rtol=1e-9, atol=1e-11)


def test_macl_is_finite_where_the_positive_has_probability_one() -> None:
    """In float32, 1 - P rounds to 0 and 1 / (1 - P) would be infinite; the loss tends to 1, its gradient does not."""
    e = replace(batch(d=64), positive=batch(d=64).query[:, None] * 1.0)
    e = leaves(e, torch.float32)
    out = make(o.MACL(tau0=0.005, alpha=0.0)).float()(e, torch.arange(len(e)))
    torch.testing.assert_close(out.value.detach(), torch.ones(len(e)))
    got = gradients(out.value.sum(), e)
    assert bool(got["query"].isfinite().all()) and float(got["query"].norm()) > 1


def test_macl_measures_alignment_over_the_whole_batch() -> None:
    e, objective = batch(p=2), make(o.MACL(alpha=1.0))
    part, whole = objective(e, torch.arange(3)), objective(e, torch.arange(len(e)))
    torch.testing.assert_close(part.metrics["temperature"], whole.metrics["temperature"], rtol=0, atol=0)
    cosine = (unit(e.query)[:, None] * unit(e.positive)).sum(-1).mean()
    torch.testing.assert_close(whole.metrics["temperature"], 0.05 * (1 + cosine))


def test_macl_refuses_a_temperature_that_is_not_positive() -> None:
    e = batch()
    with pytest.raises(TrainingError, match="mean positive cosine of -1"):
        loss_of(o.MACL(alpha=1.0, a0=0.5), replace(e, positive=-e.query[:, None]))
