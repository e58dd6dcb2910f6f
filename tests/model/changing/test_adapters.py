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
