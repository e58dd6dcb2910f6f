from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from embedkit.errors import RecipeError
from embedkit.model.running.encoder import Encoder
from tests.device import preprocessed
from tests.model.architectures import DECODERS, build
from tests.model.processes import encoded_elsewhere
from tests.tiny import sentences, tiny_bert

Load = Callable[..., Encoder]
TEXTS = sentences(9, seed=3, longest=20)


def states(encoder: Encoder, texts: list[str], side: str) -> list[np.ndarray]:
    """Token states of each text, encoded together with padding on one side."""
    encoder.st[0].tokenizer.padding_side = side
    features = preprocessed(encoder.st, texts)
    with torch.no_grad():
        out = encoder.st[0].eval()(features)
    mask = features["attention_mask"].bool()
    return [s[m].cpu().numpy() for s, m in zip(out["token_embeddings"], mask, strict=True)]


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("family", ["qwen2", *DECODERS])
def test_a_token_depends_on_later_ones(load: Load, tmp_path: Path, family: str, attention: str) -> None:
    base = build(family, tmp_path / family)
    both = load(base, bidirectional=True, pooling="mean", attention=attention)
    causal = load(base, pooling="mean", attention=attention)
    for texts in (["bade defi", "bade goku"], ["bade defi", "bade goku", "la me ni po"]):  # without padding, with it
        for side in ("right", "left"):
            seen = states(both, texts, side)
            assert np.abs(seen[0][1] - seen[1][1]).max() > 1e-3, side
            unseen = states(causal, texts, side)
            np.testing.assert_allclose(unseen[0][1], unseen[1][1], atol=1e-6)


@pytest.mark.parametrize("family", ["llama", "qwen3", "mistral", "gemma", "gemma3", "opt"])
def test_padding_is_seen_by_none(load: Load, tmp_path: Path, family: str) -> None:
    encoder = load(build(family, tmp_path / family), bidirectional=True, pooling="mean")
    alone = [states(encoder, [text], "right")[0] for text in TEXTS]
    for side in ("right", "left"):
        for expected, got in zip(alone, states(encoder, TEXTS, side), strict=True):
            np.testing.assert_allclose(got, expected, atol=2e-5)
    mean = np.stack([s.mean(0) for s in alone])
    np.testing.assert_allclose(encoder.encode(TEXTS), mean, atol=2e-5)


@pytest.mark.dist
def test_saved_and_read_by_plain_sentence_transformers(load: Load, tmp_path: Path) -> None:
    """The key is in config.json; nothing of embedkit is needed."""
    expected = {}
    for family in ("llama", "qwen3", "gemma3", "gpt2"):
        base = build(family, tmp_path / family)
        encoder = load(base, bidirectional=True, pooling="mean")
        folder = tmp_path / f"{family}-saved"
        encoder.save(folder)
        assert json.loads((folder / "config.json").read_text())["is_causal"] is False
        expected[folder] = encoder.encode(TEXTS)
        assert np.abs(expected[folder] - load(base, pooling="mean").encode(TEXTS)).max() > 1e-3
        again = load(folder)
        assert again.fingerprint() == encoder.fingerprint() != load(base, pooling="mean").fingerprint()
        assert load(folder, bidirectional=True).fingerprint() == encoder.fingerprint(), "asked for twice is no error"
    for folder, got in encoded_elsewhere(expected, TEXTS).items():
        np.testing.assert_allclose(got, expected[folder], atol=2e-6)


def test_with_lora(load: Load, tmp_path: Path) -> None:
    pytest.importorskip("peft")
    encoder = load(build("llama", tmp_path / "llama"), bidirectional=True, pooling="mean", lora={"r": 2})
    torch.manual_seed(0)  # merged weights are rounded; draws differ tenfold in what that makes of embeddings
    with torch.no_grad():
        for name, p in encoder.module.named_parameters():
            if "lora_B" in name:
                p.normal_(0, 0.1)
    encoder.save(tmp_path / "saved")
    np.testing.assert_allclose(load(tmp_path / "saved").encode(TEXTS), encoder.encode(TEXTS), atol=1e-5)


def test_what_attends_both_ways_already_is_refused(load: Load) -> None:
    with pytest.raises(RecipeError, match="both directions already"):
        load(bidirectional=True)


def test_what_cannot_be_switched_is_refused(load: Load, tmp_path: Path) -> None:
    """A recurrent model has no mask to switch off."""
    from transformers import MambaConfig, MambaModel

    base = tiny_bert(tmp_path / "mamba")
    config = MambaConfig(vocab_size=400, hidden_size=32, num_hidden_layers=2, state_size=4, pad_token_id=0)
    MambaModel(config).save_pretrained(base)
    with pytest.raises(RecipeError, match="cannot be made bidirectional") as caught:
        load(base, bidirectional=True)
    assert caught.value.where == "model.bidirectional" and caught.value.cure


def test_the_random_state_is_left_alone(load: Load, tmp_path: Path) -> None:
    base = build("llama", tmp_path / "llama")
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    load(base, bidirectional=True)
    assert torch.equal(torch.rand(3), expected)
