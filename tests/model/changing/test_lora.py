from __future__ import annotations

import builtins
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from embedkit.errors import EmbedkitError, RecipeError, VersionError
from embedkit.model.changing import lora
from embedkit.model.running.encoder import Encoder
from embedkit.versions import installed
from tests.model.architectures import build
from tests.model.changing.test_adapters import train_output, trainable
from tests.tiny import tiny_bert

peft = pytest.importorskip("peft")

Load = Callable[..., Encoder]


def adapted(load: Load, base: Path | None = None, **options: Any) -> Encoder:
    """Adapters large enough to be seen clearly."""
    encoder = load(base, **{"lora": {"r": 2, "alpha": 8}, **options})
    with torch.no_grad():
        for name, parameter in encoder.module.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.1)
    return encoder


def test_only_adapters_train_and_the_start_is_the_base(load: Load, texts: list[str]) -> None:
    encoder = load(lora={"r": 2})
    assert trainable(encoder)
    assert all("lora_" in name for name in trainable(encoder))
    assert not any("pooler" in name for name in trainable(encoder))
    np.testing.assert_allclose(encoder.encode(texts), load().encode(texts), atol=5e-6)


def test_states_are_those_of_the_formula(load: Load, texts: list[str]) -> None:
    """W + alpha / r * B A in place of W, for every adapted module."""
    encoder, plain = adapted(load), load()
    layers, weights = lora.adapter_layers(encoder.st[0].auto_model), dict(plain.st[0].auto_model.named_modules())
    assert len(layers) == 3 * 6
    with torch.no_grad():
        for name, layer in layers.items():
            update = layer.lora_B["default"].weight @ layer.lora_A["default"].weight
            weights[name].weight.add_(8 / 2 * update)
    np.testing.assert_allclose(encoder.encode(texts), plain.encode(texts), atol=5e-6)


def test_saved_merged(load: Load, tmp_path: Path, texts: list[str]) -> None:
    encoder = adapted(load, lora={"r": 2, "alpha": 8, "dropout": 0.1}, normalize=True)
    before = encoder.encode(texts)
    assert np.abs(before - load(normalize=True).encode(texts)).max() > 0.01
    encoder.save(tmp_path / "saved")
    assert not list((tmp_path / "saved").rglob("adapter_*"))
    again = load(tmp_path / "saved")
    np.testing.assert_allclose(again.encode(texts), before, atol=1e-6)
    assert again.fingerprint() == encoder.fingerprint()
    assert all("lora_" in name for name in trainable(encoder)), "saving leaves the training model as it was"
    np.testing.assert_array_equal(encoder.encode(texts), before)


@pytest.mark.parametrize("family", ["bert", "llama", "t5"])
def test_saved_alone_and_read_back(load: Load, tmp_path: Path, texts: list[str], family: str) -> None:
    base = tiny_bert(tmp_path / "bert") if family == "bert" else build(family, tmp_path / family)
    encoder, folder = adapted(load, base, pooling="mean"), tmp_path / "alone"
    encoder.save(folder, merge=False)
    assert not list(folder.rglob("model*.safetensors")), "the weights stay with the base"
    state = load_file(folder / "adapter_model.safetensors")
    own = {
        name.replace(".default", ""): p.cpu()
        for name, p in encoder.st[0].auto_model.named_parameters()
        if "lora_" in name
    }
    assert state.keys() == {"base_model.model." + name for name in own}
    assert all(torch.equal(value, own[name.removeprefix("base_model.model.")]) for name, value in state.items())
    again = load(folder)
    np.testing.assert_allclose(again.encode(texts), encoder.encode(texts), atol=2e-6)
    assert again.fingerprint() == encoder.fingerprint()
    again.save(tmp_path / "merged")
    np.testing.assert_allclose(load(tmp_path / "merged").encode(texts), encoder.encode(texts), atol=5e-6)
    names = [m["type"] for m in json.loads((tmp_path / "merged" / "modules.json").read_text())]
    assert all(name.startswith("sentence_transformers.") for name in names)
    assert "save_pretrained" not in vars(encoder.st[0].auto_model)


def test_a_bare_folder_of_adapters(load: Load, tmp_path: Path, texts: list[str]) -> None:
    """peft's own files and a tokenizer, written from a model with a head: one part more in every name."""
    base = build("llama", tmp_path / "llama")
    encoder, folder = adapted(load, base, pooling="mean"), tmp_path / "bare"
    encoder.save(folder, merge=False)
    for name in ("modules.json", "config_sentence_transformers.json", "sentence_bert_config.json"):
        (folder / name).unlink()
    state = load_file(folder / "adapter_model.safetensors")
    headed = {name.replace("base_model.model.", "base_model.model.model."): value for name, value in state.items()}
    save_file(headed, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    np.testing.assert_allclose(load(folder, pooling="mean").encode(texts), encoder.encode(texts), atol=2e-6)
    last = load(folder, pooling="lasttoken").encode(texts)
    np.testing.assert_allclose(load(folder).encode(texts), last, atol=2e-6)


def test_adapters_of_a_folder_go_on_training(load: Load, tmp_path: Path, texts: list[str]) -> None:
    encoder, folder = adapted(load), tmp_path / "alone"
    encoder.save(folder, merge=False)
    assert not trainable(load(folder)), "without model.lora they are the model's, and frozen"
    again = load(folder, lora={"r": 2, "alpha": 8, "dropout": 0.3})
    assert trainable(again) == trainable(encoder)
    np.testing.assert_allclose(again.encode(texts), encoder.encode(texts), atol=2e-6)
    assert not torch.equal(train_output(again, texts), train_output(again, texts)), "dropout is the one asked for"
    again.save(tmp_path / "twice", merge=False)
    np.testing.assert_allclose(load(tmp_path / "twice").encode(texts), encoder.encode(texts), atol=2e-6)
    with pytest.raises(RecipeError, match="adapters of r 2 and alpha 8 already, r 4 and alpha 8") as caught:
        load(folder, lora={"r": 4, "alpha": 8})
    assert caught.value.where == "model.lora"


def test_adapters_that_do_not_fit(load: Load, tmp_path: Path) -> None:
    folder = tmp_path / "alone"
    adapted(load).save(folder, merge=False)
    path = folder / "adapter_model.safetensors"
    whole = load_file(path)
    first = min(whole)
    for state, words in (
        ({n: v for n, v in whole.items() if n != first}, "1 of 36 adapters .* are missing"),
        ({**whole, "base_model.model.nowhere.lora_A.weight": torch.zeros(2, 2)}, "fit nothing in the model"),
        ({**whole, first: torch.zeros(3, 3)}, "have another shape"),
    ):
        save_file(state, path)
        with pytest.raises(RecipeError, match=words) as caught:
            load(folder)
        assert caught.value.where == "model.base"


@pytest.mark.parametrize(
    ("field", "words"),
    [
        ({"peft_type": "MAGIC"}, r"adapter_config\.json: peft_type: 'MAGIC' is none of .*LORA"),
        ({"peft_type": None}, "peft_type: None is none of"),
        ({"r": -4}, "r: a whole number of at least 1 is expected, found -4"),
        ({"r": "4"}, "r: a whole number of at least 1"),
        ({"target_modules": ["magic"]}, "for modules that the model has not: magic"),
    ],
)
def test_settings_of_adapters_that_nobody_can_take(
    load: Load, tmp_path: Path, field: dict[str, Any], words: str
) -> None:
    folder = tmp_path / "alone"
    adapted(load).save(folder, merge=False)
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **field}))
    with pytest.raises(RecipeError, match=words) as caught:
        load(folder)
    assert caught.value.where == "model.base" and caught.value.cure


def test_the_base_of_adapters_is_gone(load: Load, tmp_path: Path) -> None:
    base = tiny_bert(tmp_path / "base")
    adapted(load, base).save(tmp_path / "alone", merge=False)
    base.rename(tmp_path / "elsewhere")
    with pytest.raises(RecipeError, match=r"need the model they were trained on: .*base"):
        load(tmp_path / "alone")


def test_targets(load: Load) -> None:
    assert all(".query." in name for name in trainable(load(lora={"target_modules": ["query"]})))
    with pytest.raises(RecipeError, match="nowhere") as caught:
        load(lora={"target_modules": ["nowhere"]})
    assert "query" in caught.value.cure, "the names there are"
    with pytest.raises(RecipeError, match=r"LayerNorm.* no linear module") as caught:
        load(lora={"target_modules": ["LayerNorm"]})
    assert caught.value.where == "model.lora.target_modules"


def test_not_with_freeze(load: Load) -> None:
    with pytest.raises(RecipeError, match="freezes the whole backbone"):
        load(lora={}, freeze=["all"])


def test_adapters_start_from_the_seed(load: Load) -> None:
    one, same, other = (dict(load(lora={}, seed=s).module.named_parameters()) for s in (1, 1, 2))
    name = next(n for n in one if "lora_A" in n)
    assert torch.equal(one[name], same[name])
    assert not torch.equal(one[name], other[name])


@pytest.mark.parametrize("error", [ValueError("use >= 0.99"), AttributeError("no such name"), ImportError("moved")])
def test_versions_that_do_not_work_together(load: Load, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """The cause stays what it is: both packages with their versions, and not a key that is right."""

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise error

    monkeypatch.setattr(peft, "inject_adapter_in_model", refuse)
    with pytest.raises(VersionError) as caught:
        load(lora={})
    for part in (str(error), f"peft {installed('peft')}", f"transformers {installed('transformers')}"):
        assert part in caught.value.what
    assert caught.value.where == "model.lora" and caught.value.cure


def test_a_peft_that_cannot_be_imported_is_not_a_missing_one(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def refuse(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "peft":
            raise ImportError("cannot import name 'x' from 'transformers'")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(VersionError, match=r"cannot import name 'x'.* with peft \d+\..* and transformers \d"):
        load(lora={})


def test_without_peft(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(EmbedkitError, match="peft, which is not installed") as caught:
        load(lora={})
    assert "embedkit-train[lora]" in caught.value.cure
