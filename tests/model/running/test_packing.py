from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from embedkit.model.running import packing
from embedkit.model.running.encoder import Encoder
from tests.device import DEVICE, preprocessed
from tests.model.architectures import FAMILIES, build
from tests.model.reading.test_tokens import batch_of, rows_of

Load = Callable[..., Encoder]
PACKABLE = {"roberta", "distilbert", "modernbert", "qwen2"}


def gradients(encoder: Encoder, texts: list[str], packs: bool) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Embeddings, and the gradient of a sum with fixed random weights."""
    encoder.module.packs = packs
    encoder.module.zero_grad()
    batch = batch_of(encoder, rows_of(texts))
    out = encoder.embed(encoder.features(batch, np.arange(len(texts))))
    torch.manual_seed(0)
    (out * torch.randn_like(out)).sum().backward()
    named = encoder.module.named_parameters()
    return out.detach(), {name: p.grad.clone() for name, p in named if p.grad is not None}


@pytest.mark.parametrize("pooling", ["mean", "cls", "max", "weightedmean", "lasttoken", "first_last_mean"])
def test_packed_rows_give_the_gradient_of_padded_rows(load: Load, pooling: str, texts: list[str]) -> None:
    encoder = load(pooling=pooling, dropout=0.0)
    encoder.module.double().train()
    assert encoder.module.packs
    packed, padded = gradients(encoder, texts, True), gradients(encoder, texts, False)
    torch.testing.assert_close(packed, padded, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("family", FAMILIES)
def test_only_models_that_can_are_packed(load: Load, tmp_path: Path, family: str, texts: list[str]) -> None:
    encoder = load(build(family, tmp_path / family))
    assert encoder.module.packs == (family in PACKABLE)
    np.testing.assert_allclose(encoder.encode(texts), encoder.st.encode(texts), atol=2e-6)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"attention": "eager"}, "its attention is eager"),
        ({"prompts": {"query": "bade "}, "include_prompt_in_pooling": False}, "its pooling leaves prompts out"),
    ],
    ids=["attention", "prompts-excluded"],
)
def test_what_the_recipe_asks_for_goes_before_packing(
    load: Load, options: dict, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger=packing.__name__)
    encoder = load(**options)
    assert not encoder.module.packs
    assert encoder.st[0].auto_model.config._attn_implementation != packing.ATTENTION
    assert f"BertModel is padded: {reason}" in caplog.text


def test_rows_that_leak_into_each_other_are_found(load: Load, caplog: pytest.LogCaptureFixture) -> None:
    """A backbone that mixes neighbouring tokens outside of its attention, as convolutions do."""
    encoder = load(attention="sdpa")
    st, backbone = encoder.st, encoder.st[0].auto_model
    backbone.set_attn_implementation("sdpa")
    caplog.set_level(logging.INFO, logger=packing.__name__)
    handle = backbone.embeddings.register_forward_hook(lambda module, args, out: out + out.roll(1, dims=1))
    assert not packing.enable(st)
    handle.remove()
    assert "packed states differ by" in caplog.text
    assert backbone.config._attn_implementation == "sdpa"
    assert packing.enable(st)


def test_a_layer_with_logits_of_its_own_is_padded(load: Load, caplog: pytest.LogCaptureFixture) -> None:
    encoder = load()
    backbone = encoder.st[0].auto_model
    backbone.set_attn_implementation("sdpa")
    caplog.set_level(logging.INFO, logger=packing.__name__)
    bias = torch.zeros(1, 1, 1, 1, device=DEVICE)
    give = {"with_kwargs": True}
    layers = [layer.attention.self for layer in backbone.encoder.layer]
    handles = [
        layer.register_forward_pre_hook(lambda module, args, kwargs: (args, kwargs | {"position_bias": bias}), **give)
        for layer in layers
    ]
    assert not packing.enable(encoder.st)
    for handle in handles:
        handle.remove()
    assert "position_bias needs padded rows" in caplog.text
    assert backbone.config._attn_implementation == "sdpa"


def test_dropout_of_attention_has_the_mean_and_the_variance_of_dropout() -> None:
    """Equal keys give each of t probabilities 1/t; over values of one the output is then a mean of t masks."""
    rows, t, rate = 2000, 4, 0.25
    nought, ones = torch.zeros(1, 2, rows * t, 8), torch.ones(1, 2, rows * t, 8)
    torch.manual_seed(0)
    runs = [(rows, t)]
    out, _ = packing.packed_attention(torch.nn.Module(), nought, nought, ones, None, dropout=rate, packed_runs=runs)
    assert out.shape == (1, rows * t, 2, 8)
    kept = out[0, :, :, 0]
    assert float(kept.mean()) == pytest.approx(1, abs=0.02)
    assert float(kept.var()) == pytest.approx(rate / (1 - rate) / t, rel=0.05)


def test_a_packed_model_still_takes_padded_input(load: Load, texts: list[str]) -> None:
    encoder = load()
    with torch.no_grad():
        padded = encoder.st.eval()(preprocessed(encoder.st, texts))["sentence_embedding"]
    np.testing.assert_allclose(padded.cpu().numpy(), encoder.encode(texts), atol=5e-6)


def test_the_attention_name_is_not_saved(load: Load, tmp_path: Path) -> None:
    load().save(tmp_path / "saved")
    assert not [p for p in tmp_path.rglob("*.json") if packing.ATTENTION in p.read_text()]
