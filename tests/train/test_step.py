"""The step beyond the contract: dropout under re-forward, separate pools, agreement between processes, losses."""

from __future__ import annotations

import pytest
import torch

from embedkit.objectives.base import build
from embedkit.recipe.objectives.contrastive import InfoNCE
from embedkit.train.step import Step, reference
from tests.contract.toy import ToyEncoder, toy_batch
from tests.objectives.examples import EXAMPLES

CASE = "infonce"


def one_step(keep: bool, dropout: float, micro: int | None = 5) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    torch.manual_seed(3)
    encoder = ToyEncoder(dropout).train()
    batch = toy_batch(EXAMPLES[CASE][1], seed=1, own=slice(None), micro=micro)
    Step(encoder, [build(InfoNCE())], keep_graph=lambda _: keep)(batch)
    return {n: p.grad.clone() for n, p in encoder.named_parameters() if p.grad is not None}, torch.get_rng_state()


def test_reforward_replays_dropout_and_leaves_the_random_state_as_keep_does() -> None:
    kept, after_keep = one_step(True, 0.3)
    again, after_again = one_step(False, 0.3)
    assert kept.keys() == again.keys()
    for name, gradient in kept.items():
        torch.testing.assert_close(again[name], gradient, rtol=1e-10, atol=1e-12)
    assert torch.equal(after_keep, after_again)


def test_dropout_is_really_on() -> None:
    with_dropout, _ = one_step(True, 0.3)
    without, _ = one_step(True, 0.0)
    assert not torch.allclose(with_dropout["out.weight"], without["out.weight"])


def test_loss_without_gradient_equals_the_step() -> None:
    encoder, objective = ToyEncoder(), build(InfoNCE())
    batch = toy_batch(EXAMPLES[CASE][1], seed=1, own=slice(None), micro=4)
    step = Step(encoder, [objective])
    alone = step.loss(batch)
    assert encoder.out.weight.grad is None
    assert alone == pytest.approx(step(batch).loss, rel=1e-12)
    assert alone == pytest.approx(float(reference(encoder, objective, batch).detach()), rel=1e-12)


def test_result_counts_the_work() -> None:
    batch = toy_batch(EXAMPLES[CASE][1], seed=1, own=slice(None), micro=4)
    result = Step(ToyEncoder(), [build(InfoNCE())])(batch)
    assert result.rows == len(batch.input_ids)
    assert result.tokens == sum(map(len, batch.input_ids)) <= result.padded_tokens
    assert result.micro_batches == len(batch.micro_batches) and result.graph == "keep"
    assert -1 <= result.metrics["query_cosine"] <= 1
