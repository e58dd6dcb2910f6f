"""Causal models over packed rows: the numbers of padded rows, whatever a layer sees and wherever padding is."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from embedkit.model.running import packing
from embedkit.model.running.encoder import Encoder
from tests.model.architectures import DECODERS, build
from tests.model.reading.test_tokens import batch_of, rows_of
from tests.model.running.test_packing import gradients
from tests.model.running.test_perturb import embed, prepared
from tests.tiny import sentences

Load = Callable[..., Encoder]
TEXTS = [*sentences(12, seed=4, shortest=1, longest=14), "x", "bade goku"]
EOL = {"text": 'This text : "{text}" means in one word:"'}
WINDOWED = {"mistral": {}, "gemma3": {}, "qwen3": {"use_sliding_window": True, "max_window_layers": 1}}
"""Families with a sliding window in some layers, and what else switches it on."""


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """All families, weights large enough that a token more or less is seen clearly; and those with windows of 4."""
    folder = tmp_path_factory.mktemp("decoders")
    found = {f: build(f, folder / f, **_spread(f)) for f in DECODERS}
    for family, more in WINDOWED.items():
        path = folder / f"{family}-windowed"
        found[path.name] = build(family, path, **_spread(family), **more, sliding_window=4)
    return found


def _spread(family: str) -> dict[str, float]:
    return {"init_std" if family == "opt" else "initializer_range": 0.3}


def compare(encoder: Encoder, texts: list[str] = TEXTS, tolerance: float = 2e-5) -> None:
    """Embeddings and every parameter's gradient, packed and padded."""
    assert encoder.module.packs
    encoder.module.train()
    (packed, found), (padded, expected) = gradients(encoder, texts, True), gradients(encoder, texts, False)
    encoder.module.packs = True
    torch.testing.assert_close(packed, padded, atol=tolerance * float(padded.abs().max()), rtol=0)
    assert found.keys() == expected.keys() and found
    scale = max(float(g.abs().max()) for g in expected.values())
    for name, gradient in expected.items():
        assert float((found[name] - gradient).abs().max()) < tolerance * scale, name


@pytest.mark.parametrize("bidirectional", [False, True], ids=["causal", "bidirectional"])
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("pooling", ["lasttoken", "mean"])
@pytest.mark.parametrize("family", [*DECODERS, *(f"{f}-windowed" for f in WINDOWED)])
def test_packed_rows_give_the_gradient_of_padded_rows(
    load: Load, bases: dict[str, Path], family: str, pooling: str, side: str, bidirectional: bool
) -> None:
    if family == "gpt2" and side == "left":
        pytest.skip("counts its positions from the padding")
    encoder = load(bases[family], pooling=pooling, bidirectional=bidirectional, dropout=0.0)
    encoder.st[0].tokenizer.padding_side = side
    compare(encoder)
    encoder.module.eval()
    np.testing.assert_allclose(encoder.encode(TEXTS), encoder.st.encode(TEXTS), atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("family", WINDOWED)
def test_a_window_hides_what_is_far_away(load: Load, bases: dict[str, Path], family: str) -> None:
    """Rows longer than the window differ from those of the same model without one; shorter rows do not."""
    near, far = (load(bases[name], pooling="lasttoken") for name in (f"{family}-windowed", family))
    apart = np.abs(near.encode(TEXTS) - far.encode(TEXTS)).max(1)
    lengths = np.array([len(ids) for ids in near.tokenize(rows_of(TEXTS))[0]])
    assert near.module.packs and (apart[lengths > 4] > 1e-4).all() and (apart[lengths <= 4] < 1e-5).all()


@pytest.mark.parametrize("family", DECODERS)
def test_with_dropout_a_token_sees_no_later_one(load: Load, bases: dict[str, Path], family: str) -> None:
    """The same masks twice, and another last word: the states before it are the same to the bit, those after not."""
    causal, both = (load(bases[family], pooling="mean", dropout=0.2, bidirectional=b) for b in (False, True))

    def states(encoder: Encoder, last: str) -> torch.Tensor:
        encoder.module.train()
        rows = [f"bade defi goku {last}", "lame defi goku nipo"]
        features = encoder.features(batch_of(encoder, rows_of(rows, ("query",))), np.arange(2))
        torch.manual_seed(1)
        return encoder.st[0](features)["token_embeddings"][0, :6].detach()

    for encoder, sees in ((causal, False), (both, True)):
        assert encoder.module.packs
        one, other = states(encoder, "nipo"), states(encoder, "wote")
        assert torch.equal(one[:4], other[:4]) != sees
        assert not torch.equal(one[4:], other[4:])


@pytest.mark.cpu
def test_dropout_of_shared_heads(load: Load, bases: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """With the factors of dropout fixed to one, the layer with dropout is the layer without, gradient included."""
    encoder = load(bases["llama"], pooling="mean", dropout=0.5)
    monkeypatch.setattr("embedkit.model.running.attention.draw_factor", lambda like, p: torch.ones_like(like))
    encoder.module.train()
    mine = gradients(encoder, TEXTS, True)
    for module in encoder.module.modules():
        if hasattr(module, "attention_dropout"):
            module.attention_dropout = 0.0
    torch.testing.assert_close(mine, gradients(encoder, TEXTS, True), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("family", ["llama", "qwen3", "gemma3", "gpt2"])
def test_templates_before_and_after_the_text(load: Load, bases: dict[str, Path], family: str) -> None:
    encoder = load(bases[family], template=EOL, dropout=0.0)
    compare(encoder)
    encoder.module.eval()
    np.testing.assert_allclose(encoder.encode(TEXTS), encoder.st.encode(TEXTS), atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("family", ["llama", "mistral-windowed"])
def test_shuffled_positions(load: Load, bases: dict[str, Path], family: str) -> None:
    """A view moves the positions of tokens; what a token sees stays what stands before it."""
    encoder = load(bases[family], pooling="mean", dropout=0.0)
    batch = prepared(encoder, [], [{"name": "shuffle"}])
    rows = list(range(len(batch.input_ids)))
    packed = embed(encoder, batch, rows)
    plain = embed(encoder, prepared(encoder), rows)
    encoder.module.packs = False
    torch.testing.assert_close(packed, embed(encoder, batch, rows), atol=2e-5, rtol=1e-4)
    assert ((packed - plain).abs().amax(1)[1::2] > 1e-3).all()


@pytest.mark.parametrize("family", ["llama", "gemma3-windowed"])
def test_a_layer_of_the_middle(load: Load, bases: dict[str, Path], family: str) -> None:
    compare(load(bases[family], pooling="mean", pooling_layer=1, dropout=0.0))


def test_autocast(load: Load, bases: dict[str, Path]) -> None:
    encoder = load(bases["llama"], pooling="mean", dropout=0.0)
    encoder.module.train()
    full = gradients(encoder, TEXTS, True)[0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = gradients(encoder, TEXTS, True)[0]
    assert float((half.float() - full).norm() / full.norm()) < 0.1


@pytest.mark.parametrize("family", ["llama", "qwen3", "gemma3", "gpt2", "opt"])
def test_gradient_checkpointing_of_packed_rows(load: Load, bases: dict[str, Path], family: str) -> None:
    """Layers are called again with what they were given, their mask included."""
    encoder = load(bases[family], pooling="mean", dropout=0.0)
    encoder.module.train()
    expected = gradients(encoder, TEXTS, True)
    encoder.st[0].auto_model.gradient_checkpointing_enable()
    torch.testing.assert_close(gradients(encoder, TEXTS, True), expected, atol=1e-6, rtol=1e-5)


def test_a_packed_model_is_copied_and_saved(load: Load, bases: dict[str, Path], tmp_path: Path) -> None:
    options: dict[str, Any] = {"pooling": "lasttoken", "normalize": True}
    encoder = load(bases["mistral-windowed"], **options)
    expected = encoder.encode(TEXTS)
    encoder.module.second = encoder.module.copy()
    np.testing.assert_array_equal(encoder.tower(1).encode(TEXTS), expected)
    encoder.save(tmp_path / "saved")
    assert not [p for p in tmp_path.rglob("*.json") if packing.ATTENTION in p.read_text()]
    np.testing.assert_allclose(load(tmp_path / "saved").encode(TEXTS), expected, atol=1e-6)


@pytest.mark.parametrize("bidirectional", [False, True], ids=["causal", "bidirectional"])
@pytest.mark.parametrize("family", ["llama", "gemma3", "gpt2", "mistral-windowed"])
def test_adapters(load: Load, bases: dict[str, Path], family: str, bidirectional: bool) -> None:
    pytest.importorskip("peft")
    options: dict[str, Any] = {"pooling": "lasttoken", "bidirectional": bidirectional, "dropout": 0.0}
    encoder = load(bases[family], lora={"r": 2, "dropout": 0.0}, **options)
    with torch.no_grad():
        for name, parameter in encoder.module.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.1)
    compare(encoder)
    _, found = gradients(encoder, TEXTS, True)
    assert all("lora_" in name for name in found) and {"lora_A", "lora_B"} <= {name.split(".")[-3] for name in found}
    encoder.module.eval()
    embedded = encoder.encode(TEXTS)
    np.testing.assert_allclose(embedded, encoder.st.encode(TEXTS), atol=2e-5, rtol=1e-4)
    assert np.abs(embedded - load(bases[family], **options).encode(TEXTS)).max() > 1e-2


@pytest.mark.parametrize("family", ["llama", "mistral-windowed"])
def test_soft_prompts_are_padded_and_say_so(
    load: Load, bases: dict[str, Path], family: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Packed rows have no place for keys that stand before every row; padded together, rows are what each is alone."""
    caplog.set_level(logging.INFO, logger=packing.__name__)
    encoder = load(bases[family], pooling="mean", soft_prompts={"length": 3, "dropout": 0.0}, dropout=0.0)
    assert not encoder.module.packs and "is padded: soft prompts stand before every row" in caplog.text
    prompts = encoder.st[0].prompts.weight
    with torch.no_grad():
        prompts.normal_(0, 0.5)
    encoder.module.train()

    def gradient(groups: list[list[str]]) -> tuple[torch.Tensor, torch.Tensor]:
        encoder.module.zero_grad()
        found = [
            encoder.embed(encoder.features(batch_of(encoder, rows_of(group, ("query",))), np.arange(len(group))))
            for group in groups
        ]
        out = torch.cat(found)
        out.pow(2).sum().backward()
        return out.detach(), prompts.grad.clone()

    (together, of_all), (alone, of_each) = gradient([TEXTS]), gradient([[text] for text in TEXTS])
    torch.testing.assert_close(together, alone, atol=2e-5 * float(alone.abs().max()), rtol=0)
    torch.testing.assert_close(of_all, of_each, atol=2e-5 * float(of_each.abs().max()), rtol=0)
    assert float(of_each.abs().max()) > 1e-3
