from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from embedkit.errors import RecipeError
from embedkit.model.changing import adapters
from embedkit.model.running.encoder import Encoder
from tests.model.architectures import FAMILIES, build
from tests.model.reading.test_tokens import batch_of, rows_of

Load = Callable[..., Encoder]


def trainable(encoder: Encoder) -> set[str]:
    return {name for name, p in encoder.st[0].auto_model.named_parameters() if p.requires_grad}


def train_output(encoder: Encoder, texts: list[str]) -> torch.Tensor:
    encoder.module.train()
    return encoder.embed(encoder.features(batch_of(encoder, rows_of(texts)), np.arange(len(texts))))


def test_dropout_off_makes_training_deterministic(load: Load, texts: list[str]) -> None:
    encoder = load(dropout=0.0)
    assert torch.equal(train_output(encoder, texts), train_output(encoder, texts))
    default = load()
    assert not torch.equal(train_output(default, texts), train_output(default, texts))


@pytest.mark.parametrize("family", FAMILIES)
def test_dropout_reaches_every_family(load: Load, tmp_path: Path, family: str, texts: list[str]) -> None:
    base = build(family, tmp_path / family)
    off = load(base, dropout=0.0)
    assert torch.equal(train_output(off, texts), train_output(off, texts))
    backbone = load(base, dropout=0.4).st[0].auto_model
    rates = [m.p for m in backbone.modules() if isinstance(m, torch.nn.Dropout)]
    rates += [v for m in backbone.modules() for k, v in vars(m).items() if k == "attention_dropout"]
    assert rates
    assert set(rates) == {0.4}


def test_dropout_is_in_the_saved_config(load: Load, tmp_path: Path) -> None:
    load(dropout=0.3).save(tmp_path / "saved")
    config = load(tmp_path / "saved").st[0].auto_model.config
    assert (config.hidden_dropout_prob, config.attention_probs_dropout_prob) == (0.3, 0.3)


@pytest.mark.parametrize(
    ("part", "pattern"),
    [
        ("embeddings", "embeddings."),
        ("layers:0-1", ("encoder.layer.0.", "encoder.layer.1.")),
        ("layers:2", "encoder.layer.2."),
        ("all", ""),
        ("encoder.layer.1.attention", "encoder.layer.1.attention."),
        ("encoder.layer.1.attention.self.query.bias", "encoder.layer.1.attention.self.query.bias"),
    ],
)
def test_freezing(load: Load, part: str, pattern: str | tuple[str, ...]) -> None:
    everything = trainable(load())
    expected = {name for name in everything if not name.startswith(pattern)}
    assert expected != everything
    assert trainable(load(freeze=[part])) == expected


@pytest.mark.parametrize("family", FAMILIES)
def test_embeddings_and_layers_of_every_family(load: Load, tmp_path: Path, family: str) -> None:
    backbone = load(build(family, tmp_path / family)).st[0].auto_model
    assert adapters.layers(backbone)[1] == 2
    frozen = adapters.freeze(backbone, ["embeddings"])
    word = backbone.get_input_embeddings().weight
    assert not word.requires_grad
    assert frozen
    assert not any("layer" in name.lower().replace("layernorm", "") or "block" in name for name in frozen)


@pytest.mark.parametrize(
    "part", ["layer:0", "layers:1-3", "layers:3", "layers:2-1", "embedding", "encoder.layer.1.att"]
)
def test_freezing_what_is_not_there(load: Load, part: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load(freeze=[part])
    for valid in ("all", "embeddings", "layers:0-2", "encoder"):
        assert valid in caught.value.cure


def test_no_graph_is_kept_under_frozen_layers(load: Load, texts: list[str]) -> None:
    encoder = load(freeze=["embeddings", "layers:0-1"])
    seen: list[bool] = []
    for layer in encoder.st[0].auto_model.encoder.layer:
        layer.register_forward_hook(lambda module, args, out: seen.append(out.requires_grad))
    train_output(encoder, texts)
    assert seen == [False, False, True]


class TestLora:
    """Low-rank adapters."""

    def test_only_adapters_train_and_the_start_is_the_base(self, load: Load, texts: list[str]) -> None:
        pytest.importorskip("peft")
        encoder = load(lora={"r": 2})
        assert trainable(encoder)
        assert all("lora_" in name for name in trainable(encoder))
        assert not any("pooler" in name for name in trainable(encoder))
        np.testing.assert_allclose(encoder.encode(texts), load().encode(texts), atol=5e-6)

    def test_saved_merged(self, load: Load, tmp_path: Path, texts: list[str]) -> None:
        pytest.importorskip("peft")
        encoder = load(lora={"r": 2, "alpha": 8, "dropout": 0.1}, normalize=True)
        with torch.no_grad():
            for name, p in encoder.module.named_parameters():
                if "lora_B" in name:
                    p.normal_(0, 0.1)
        before = encoder.encode(texts)
        assert np.abs(before - load(normalize=True).encode(texts)).max() > 0.01
        encoder.save(tmp_path / "saved")
        assert not list((tmp_path / "saved").rglob("adapter_*"))
        again = load(tmp_path / "saved")
        np.testing.assert_allclose(again.encode(texts), before, atol=1e-6)
        assert again.fingerprint() == encoder.fingerprint()
        assert all("lora_" in name for name in trainable(encoder)), "saving leaves the training model as it was"
        np.testing.assert_array_equal(encoder.encode(texts), before)

    def test_targets(self, load: Load) -> None:
        pytest.importorskip("peft")
        assert all(".query." in name for name in trainable(load(lora={"target_modules": ["query"]})))
        with pytest.raises(RecipeError, match="nowhere"):
            load(lora={"target_modules": ["nowhere"]})

    def test_not_with_freeze(self, load: Load) -> None:
        with pytest.raises(RecipeError, match="freezes the whole backbone"):
            load(lora={}, freeze=["all"])

    def test_adapters_start_from_the_seed(self, load: Load) -> None:
        pytest.importorskip("peft")
        one, same, other = (dict(load(lora={}, seed=s).module.named_parameters()) for s in (1, 1, 2))
        name = next(n for n in one if "lora_A" in n)
        assert torch.equal(one[name], same[name])
        assert not torch.equal(one[name], other[name])
