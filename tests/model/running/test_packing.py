from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from embedkit.model.running import packing
from embedkit.model.running.encoder import Encoder
from tests.model.architectures import FAMILIES, build
from tests.model.reading.test_tokens import batch_of, rows_of

Load = Callable[..., Encoder]
PACKABLE = {"roberta", "distilbert"}


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
    "options",
    [{"attention": "eager"}, {"prompts": {"query": "bade "}, "include_prompt_in_pooling": False}],
    ids=["attention", "prompts-excluded"],
)
def test_what_the_recipe_asks_for_goes_before_packing(load: Load, options: dict) -> None:
    encoder = load(**options)
    assert not encoder.module.packs
    assert encoder.st[0].auto_model.config._attn_implementation != packing.ATTENTION


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
    ids = encoder.st.preprocess(texts)
    with torch.no_grad():
        padded = encoder.st.eval()(dict(ids))["sentence_embedding"]
    np.testing.assert_allclose(padded.numpy(), encoder.encode(texts), atol=5e-6)


def test_the_attention_name_is_not_saved(load: Load, tmp_path: Path) -> None:
    load().save(tmp_path / "saved")
    assert not [p for p in tmp_path.rglob("*.json") if packing.ATTENTION in p.read_text()]
