"""Training that does not go against the start: the projection in every layout, the anchor, both resumed."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from embedkit.objectives.base import build
from embedkit.recipe.objectives.contrastive import InfoNCE
from embedkit.recipe.objectives.keep_start import KeepStart
from embedkit.recipe.plan import plan
from embedkit.recipe.planning.words import lines
from embedkit.recipe.schema import Recipe
from embedkit.train.anchor import TowardsStart
from embedkit.train.prograd import PROJECTED, ProGrad, projected
from embedkit.train.step import Step, reference
from embedkit.types import RowBatch
from tests.contract.cases import FEW, SEEDS, Layout
from tests.contract.toy import ToyEncoder, toy_batch
from tests.objectives.batches import batch
from tests.tiny import tiny_bert
from tests.train.runs import recipe, state, trainer

GENERAL = KeepStart(temperature=1.0)


class Start:
    """Embeddings by quite other weights than the encoder's, so that some gradients disagree."""

    def __init__(self) -> None:
        self.encoder = ToyEncoder()
        with torch.no_grad():
            for p in self.encoder.parameters():
                p.add_(torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel()), dtype=p.dtype) * 3.0)

    @torch.no_grad()
    def __call__(self, batch: RowBatch) -> torch.Tensor:
        out = self.encoder.embed(self.encoder.features(batch, np.arange(len(batch.input_ids))))
        return out.new_zeros(batch.n * batch.slots, out.shape[-1]).index_copy(0, torch.from_numpy(batch.position), out)

    def follow(self) -> None:
        """It stays."""


def expected(accumulation: int, strength: float) -> dict[str, torch.Tensor]:
    """Two gradients by plain autograd, and the projection by its formula."""
    found = []
    for config in (InfoNCE(), GENERAL):
        encoder = ToyEncoder()
        for seed in SEEDS[accumulation]:
            rows = toy_batch(batch(m=1), seed=seed, own=slice(None), micro=None)
            (reference(encoder, build(config), rows, target=Start()) / accumulation).backward()
        found.append({n: p.grad for n, p in encoder.named_parameters()})
    task, general = found
    result, signs = {}, set()
    for name, g in task.items():
        b = general[name] / general[name].norm()
        inner = float((g * b).sum())
        signs.add(inner < 0)
        result[name] = g if inner >= 0 else g - strength * inner * b
    assert signs == {True, False}, "both cases are there"
    return result


@pytest.mark.parametrize("layout", FEW, ids=str)
def test_the_projection_does_not_depend_on_the_layout(layout: Layout) -> None:
    encoder, objective = ToyEncoder(), build(InfoNCE())
    step = Step(
        encoder,
        [objective],
        target=Start(),  # type: ignore[arg-type]
        prograd=ProGrad(build(GENERAL), encoder.parameters(), 0.8),
        keep_graph=lambda _: layout.keep,
        rows_per_block=layout.block,
    )
    for seed in SEEDS[layout.accumulation]:
        rows = toy_batch(batch(m=1), seed=seed, own=slice(None), micro=layout.micro)
        result = step(rows, 1 / layout.accumulation)
    assert result.metrics["start_loss"] > 0 and 0 <= result.metrics["start_nearest_kept"] <= 1
    found = step.finish(list(encoder.parameters()))
    assert 0 < found[PROJECTED] < 1
    for name, gradient in expected(layout.accumulation, 0.8).items():
        torch.testing.assert_close(dict(encoder.named_parameters())[name].grad, gradient, rtol=1e-9, atol=1e-12)


def test_what_agrees_and_what_has_no_direction_stays() -> None:
    task = torch.tensor([1.0, -2.0])
    for general in (torch.tensor([3.0, 0.0]), torch.zeros(2)):
        kept, against = projected(task, general, 1.0)
        assert torch.equal(kept, task) and not against
    gone, against = projected(task, torch.tensor([0.0, 5.0]), 1.0)
    assert gone.tolist() == [1.0, 0.0] and against
    assert projected(task.half(), torch.tensor([0.0, 5.0]).half(), 0.5)[0].tolist() == [1.0, -1.0]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bert(tmp_path_factory.mktemp("base"))


def held(base: Path, **train: Any) -> Recipe:
    return recipe(base, **{"prograd": {"strength": 1.0}, "anchor": 20.0, "steps": 4, "save_every": 2, **train})


@pytest.mark.slow
def test_resumed_in_the_middle_is_bit_exact(base: Path, tmp_path: Path) -> None:
    """The copy of the encoder comes from the checkpoint, the anchor from the base."""
    whole = trainer(held(base), tmp_path / "whole")
    start = copy.deepcopy(dict(whole.encoder.module.named_parameters()))
    whole.train()
    resumed = trainer(held(base), tmp_path / "resumed")
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-2"))
    want, got = state(whole), state(resumed)
    assert [n for n in want if not torch.equal(want[n], got[n])] == []
    copied = whole.engine.target.module
    assert all(torch.equal(p, start[n]) for n, p in copied.named_parameters()), "it never moves"
    logged = [line for line in whole.state.log_history if "loss" in line]
    assert logged[0][PROJECTED] >= 0 and all("start_loss" in line for line in logged)


def test_the_anchor_draws_every_group_by_its_own_rate() -> None:
    first, second = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)
    anchor = TowardsStart(first.parameters(), 4.0)
    optimizer = torch.optim.SGD(
        [{"params": [first.weight], "lr": 0.1}, {"params": [first.bias, *second.parameters()]}], 9
    )
    before = {p: p.detach().clone() for p in (*first.parameters(), *second.parameters())}
    with torch.no_grad():
        for p in before:
            p.add_(1.0)
    anchor.on_optimizer_step(None, None, None, optimizer=optimizer)  # type: ignore[arg-type]
    assert torch.allclose(first.weight, before[first.weight] + 0.6), "4 times 0.1 of the way back"
    assert torch.allclose(first.bias, before[first.bias]), "never further than the start"
    assert torch.allclose(second.weight, before[second.weight] + 1.0), "not of the encoder"


@pytest.mark.slow
def test_the_anchor_draws_in_a_run(base: Path, tmp_path: Path) -> None:
    """With SGD an update is known: w1 = w0 - r g, then back by r times the strength of the way."""
    options = {"steps": 1, "accumulation": 1, "optimizer": "sgd", "warmup": 0.0, "weight_decay": 0.0, "prograd": None}
    free = trainer(held(base, **options, anchor=None), tmp_path / "free")
    before = {n: p.detach().clone() for n, p in free.encoder.module.named_parameters()}
    free.train()
    drawn = trainer(held(base, **options, anchor=300.0), tmp_path / "drawn")
    drawn.train()
    moved = dict(free.encoder.module.named_parameters())
    assert any(not torch.equal(before[n], p) for n, p in moved.items())
    for name, p in drawn.encoder.module.named_parameters():
        torch.testing.assert_close(p.detach(), before[name] + 0.7 * (moved[name].detach() - before[name]))
    whole = trainer(held(base, **options, anchor=1e9), tmp_path / "whole")
    whole.train()
    assert all(torch.equal(p.detach(), before[n]) for n, p in whole.encoder.module.named_parameters())


def test_check_tells_the_memory_and_refuses(base: Path) -> None:
    text = "\n".join(lines(plan(held(base))))
    for what in ("copy of the encoder", "second gradient", "weights at the start"):
        assert what in text
    plain = held(base).model_dump(exclude_unset=True)
    moco = Recipe.model_validate({**plain, "objective": {"name": "moco", "momentum": 0.99}})
    assert any("momentum 0.99 and 1" in p.what for p in plan(moco).refusals)
    nothing = Recipe.model_validate({**plain, "objective": "none", "auxiliary": [{"name": "mlm"}]})
    assert any("prograd" in p.what and "has none" in p.what for p in plan(nothing).refusals)
