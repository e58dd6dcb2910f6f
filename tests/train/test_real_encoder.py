"""The contract with the real encoder: packed rows, sparse token gradients, micro-batches, re-forward."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from embedkit.data.collate import collate
from embedkit.data.views import expand
from embedkit.model.running.encoder import Encoder
from embedkit.objectives.base import build
from embedkit.recipe.objectives.contrastive import InfoNCE
from embedkit.recipe.schema import Model
from embedkit.train.step import Step, reference
from embedkit.types import Example
from tests.device import DEVICE, PACKS
from tests.model.architectures import build as build_model
from tests.tiny import sentences, tiny_bert

OBJECTIVE = InfoNCE(temperature=0.1, directions=("q-d", "q-q", "d-q"))

ROUNDING = {"bert": 1e-10, "llama": 1e-6}
"""Relative to the largest gradient; LLaMA's norms and rotations are computed in float32 whatever comes in."""


def gradients(
    base: Path, budget: int | None, keep: bool, packs: bool = True, kinds: int = 24, once: bool = False
) -> dict[str, torch.Tensor]:
    """One update of 12 pairs of `kinds` texts in float64 without dropout; `budget` None asks the oracle, padded and in
    one piece, every text of a pair by itself."""
    encoder = Encoder.load(Model(base=str(base), dropout=0.0, max_length=24), device=DEVICE)
    encoder.module.double().train()
    encoder.module.packs = packs and budget is not None
    texts = (sentences(kinds, seed=7) * 24)[:24]
    examples = [Example(query=a, positives=(b,)) for a, b in zip(texts[::2], texts[1::2], strict=True)]
    expanded = expand(examples, unlabelled=False, views=2, per_query=0, one_positive="first", seed=0, step=0, offset=0)
    batch = collate(expanded, encoder.tokenize, budget or 10_000, source=0, step=0, once=once)
    step = Step(encoder, [build(OBJECTIVE)], keep_graph=lambda _: keep)
    if packs:
        encoder.use_sparse_token_gradients()
    if budget is None:
        reference(encoder, build(OBJECTIVE), batch).backward()
    else:
        step(batch)
        assert (len(batch.micro_batches) > 3) == (budget < 100)
        table = encoder.st[0].auto_model.get_input_embeddings().weight
        assert table.grad is not None and table.grad.is_sparse == (packs and DEVICE == "cpu")
    step.finish(list(encoder.module.parameters()))
    return {n: p.grad for n, p in encoder.module.named_parameters() if p.grad is not None}


@pytest.fixture(scope="module", params=["bert", "llama"])
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base") / request.param
    return tiny_bert(folder) if request.param == "bert" else build_model(request.param, folder)


@pytest.mark.parametrize("budget", [40, 10_000])
@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("packs", PACKS)
def test_gradient_is_that_of_plain_autograd(base: Path, budget: int, keep: bool, packs: bool) -> None:
    want, got = gradients(base, None, True), gradients(base, budget, keep, packs)
    assert got.keys() == want.keys()
    scale = max(float(g.abs().max()) for g in want.values())
    for name, gradient in want.items():
        assert not got[name].is_sparse
        assert float((got[name] - gradient).abs().max()) < ROUNDING[base.name] * scale, name


@pytest.mark.parametrize("budget", [40, 10_000])
@pytest.mark.parametrize("keep", [True, False])
def test_gradient_is_the_same_where_equal_texts_are_encoded_once(base: Path, budget: int, keep: bool) -> None:
    want, got = gradients(base, None, True, kinds=7), gradients(base, budget, keep, kinds=7, once=True)
    scale = max(float(g.abs().max()) for g in want.values())
    assert got.keys() == want.keys()
    for name, gradient in want.items():
        assert float((got[name] - gradient).abs().max()) < ROUNDING[base.name] * scale, name
