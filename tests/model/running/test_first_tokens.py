"""With CLS pooling the last layer is computed for first tokens alone: the same embeddings and gradients."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from embedkit.model.running import first_tokens
from embedkit.model.running.encoder import Encoder
from embedkit.model.running.reranker import Reranker
from embedkit.recipe.schema import Model
from embedkit.types import Row
from tests.device import DEVICE
from tests.model.architectures import build
from tests.model.reading.test_tokens import batch_of, rows_of
from tests.model.running.test_packing import gradients
from tests.tiny import sentences

Load = Callable[..., Encoder]
LAST = "encoder.layer.2.attention.output"


def widths(encoder: Encoder | Reranker, run: Callable[[], Any]) -> list[int]:
    """Tokens that pass the feed-forward network of each layer while something runs."""
    seen: list[int] = []
    networks = [m for name, m in encoder.st[0].auto_model.named_modules() if name.endswith(".intermediate")]
    hooks = [m.register_forward_hook(lambda m, a, out: seen.append(out[..., 0].numel())) for m in networks]
    run()
    for hook in hooks:
        hook.remove()
    return seen


@pytest.mark.parametrize("family", [None, "roberta"])
@pytest.mark.parametrize("packs", [True, False], ids=["packed", "padded"])
def test_embedding_and_gradient_are_those_of_all_tokens(
    load: Load, tmp_path: Path, family: str | None, packs: bool, texts: list[str]
) -> None:
    encoder = load(build(family, tmp_path / family) if family else None, pooling="cls", dropout=0.0)
    name = encoder.module.narrows
    assert name is not None
    encoder.module.double().train()
    narrow = gradients(encoder, texts, packs)
    encoder.module.narrows = None
    whole = gradients(encoder, texts, packs)
    assert set(narrow[1]) == set(whole[1])
    torch.testing.assert_close(narrow, whole, atol=1e-12, rtol=1e-10)


def test_encoding_and_training_compute_one_token_a_row_in_the_last_layer(load: Load, texts: list[str]) -> None:
    encoder = load(pooling="cls")
    assert encoder.module.narrows == LAST
    np.testing.assert_allclose(encoder.encode(texts), encoder.st.encode(texts), atol=1e-5)
    rows = [text for text in texts if text][:8]
    *below, last = widths(encoder, lambda: encoder.encode(rows))
    assert last == len(rows) and all(n > 3 * len(rows) for n in below)
    batch = batch_of(encoder, rows_of(rows))
    encoder.module.train()
    assert widths(encoder, lambda: encoder.embed(encoder.features(batch, np.arange(8))))[-1] == len(rows)


@pytest.mark.parametrize(
    "options",
    [
        {"pooling": "mean"},
        {"pooling": "lasttoken"},
        {"pooling": "first_last_mean"},
        {"pooling": "cls", "pooling_layer": 2},
        {"pooling": "cls", "prompts": {"query": "bade "}, "include_prompt_in_pooling": False},
    ],
    ids=["mean", "last", "first-last", "another-layer", "prompts-excluded"],
)
def test_an_embedding_of_more_than_the_first_token_needs_them_all(load: Load, options: dict, texts: list[str]) -> None:
    encoder = load(**options)
    assert encoder.module.narrows is None
    assert len(set(widths(encoder, lambda: encoder.encode(texts[:8])))) == 1


@pytest.mark.parametrize("family", ["distilbert", "modernbert", "mpnet", "qwen2", "t5"])
def test_layers_built_otherwise_compute_all_tokens(load: Load, tmp_path: Path, family: str, texts: list[str]) -> None:
    encoder = load(build(family, tmp_path / family), pooling="cls")
    np.testing.assert_allclose(encoder.encode(texts), encoder.st.encode(texts), atol=1e-5)
    assert encoder.module.narrows is None


class ReadsAll(torch.nn.Module):
    """Adds something of every token to the embedding."""

    def forward(self, features: dict[str, Any]) -> dict[str, Any]:
        states: Tensor = features["token_embeddings"]
        features["sentence_embedding"] = features["sentence_embedding"] + states.flatten(0, 1).norm(dim=0)
        return features


class Counts(torch.nn.Module):
    """Expects as many tokens as there were."""

    def forward(self, features: dict[str, Any]) -> dict[str, Any]:
        assert features["token_embeddings"].shape[1] == features["input_ids"].shape[1]
        return features


@pytest.mark.parametrize("module", [ReadsAll(), Counts()], ids=["reads", "counts"])
def test_a_module_behind_the_pooling_that_reads_other_tokens_is_found(load: Load, module: torch.nn.Module) -> None:
    st = load(pooling="cls").st
    st.append(module)
    assert Encoder(st).module.narrows is None


def test_a_causal_layer_or_one_of_other_parts_is_not_taken(load: Load) -> None:
    backbone = load().st[0].auto_model
    assert first_tokens.projection(backbone) == LAST
    backbone.encoder.layer[-1].is_decoder = True
    assert first_tokens.projection(backbone) is None
    backbone.encoder.layer[-1].is_decoder = False
    backbone.encoder.layer[-1].attention.output.more = torch.nn.Identity()
    assert first_tokens.projection(backbone) is None


def test_lora_below_it_and_a_copy_work_alike(load: Load, texts: list[str]) -> None:
    pytest.importorskip("peft")
    encoder = load(pooling="cls", lora={"r": 2, "target_modules": ["dense", "query"]})
    assert encoder.module.narrows is not None
    before = encoder.encode(texts)
    copied = encoder.module.copy()
    assert copied.narrows == encoder.module.narrows and sorted(copied.state_dict()) == sorted(
        encoder.module.state_dict()
    )
    encoder.module.narrows = None
    np.testing.assert_allclose(before, encoder.encode(texts), atol=2e-6)


def test_the_hook_is_gone_behind_the_pass_even_where_it_fails(load: Load) -> None:
    backbone = load(pooling="cls").st[0].auto_model
    with pytest.raises(ZeroDivisionError), first_tokens.alone(backbone, LAST, {}):
        assert backbone.get_submodule(LAST)._forward_pre_hooks
        1 / 0  # noqa: B018
    assert not backbone.get_submodule(LAST)._forward_pre_hooks


def test_all_tokens_pass_where_activations_are_recomputed(load: Load, texts: list[str]) -> None:
    encoder = load(pooling="cls", dropout=0.0)
    encoder.module.train()
    narrow = gradients(encoder, texts, encoder.module.packs)
    encoder.st[0].auto_model.gradient_checkpointing_enable()
    found = gradients(encoder, texts, encoder.module.packs)
    torch.testing.assert_close(found, narrow, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("family", [None, "roberta"])
@pytest.mark.parametrize("packs", [True, False], ids=["packed", "padded"])
def test_a_rerankers_scores_and_gradients_are_those_of_all_tokens(
    bert: Path, tmp_path: Path, family: str | None, packs: bool
) -> None:
    base = build(family, tmp_path / family) if family else bert
    reranker = Reranker.load(Model(kind="reranker", base=str(base), dropout=0.0), device=DEVICE, seed=1)
    name = reranker.module.narrows
    assert name is not None and reranker.module.packs
    pairs = list(zip(sentences(12), sentences(12, seed=4, longest=60), strict=True))
    reranker.module.double().train()
    reranker.module.packs = packs
    ids, extra = reranker.tokenize([Row(text, i, 0, "document", query=query) for i, (query, text) in enumerate(pairs)])
    found: list[tuple[Tensor, dict[str, Tensor]]] = []
    for module in (name, None):
        reranker.module.narrows = module
        reranker.module.zero_grad()
        scores = reranker.embed(reranker.module.layout(ids, extra))
        scores.square().sum().backward()
        named = reranker.module.named_parameters()
        found.append((scores.detach(), {n: p.grad.clone() for n, p in named if p.grad is not None}))
    torch.testing.assert_close(found[0], found[1], atol=1e-12, rtol=1e-10)
