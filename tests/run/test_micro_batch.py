"""How many tokens a micro-batch holds where the recipe leaves it open."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from embedkit.model.running.encoder import Encoder
from embedkit.recipe.memory import activation_bytes
from embedkit.recipe.schema import Model, Recipe
from embedkit.run.build import _micro_batch
from tests.tiny import tiny_bert, tiny_static

SIZE = {"layers": 2, "hidden": 32, "heads": 2, "length": 0}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tiny_bert(tmp_path_factory.mktemp("base"))
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    sizes = (config["num_hidden_layers"], config["hidden_size"], config["num_attention_heads"])
    assert sizes == (SIZE["layers"], SIZE["hidden"], SIZE["heads"])
    return folder


def tokens(base: Path, monkeypatch: pytest.MonkeyPatch, kind: str, memory: int, **train: Any) -> int:
    """Of a model that says it is on such a device."""
    rows = [{"query": "ba", "positive": "de"}]
    block = {"model": {"base": str(base)}, "data": {"sources": [{"rows": rows}]}, "objective": {"name": "infonce"}}
    encoder = Encoder.load(Model(base=str(base)), device="cpu")
    monkeypatch.setattr(type(encoder), "device", torch.device(kind))
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(total_memory=memory))
    return _micro_batch(Recipe.model_validate({**block, "train": train}), encoder)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_gpu_takes_the_most_that_is_a_quarter_of_its_memory(
    base: Path, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    for most, least in ((32_768, 16_384), (16_384, 8192)):
        enough = 4 * activation_bytes(most, **SIZE, precision=precision)
        found = [tokens(base, monkeypatch, "cuda", memory, precision=precision) for memory in (enough, enough - 4)]
        assert found == [most, least]
    assert tokens(base, monkeypatch, "cuda", 1, precision=precision) == 8192


@pytest.mark.parametrize(("kind", "expected"), [("cpu", 2048), ("mps", 8192)])
def test_other_devices(base: Path, monkeypatch: pytest.MonkeyPatch, kind: str, expected: int) -> None:
    assert tokens(base, monkeypatch, kind, 0) == expected


def test_a_static_model_has_no_states_that_could_be_too_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert tokens(tiny_static(tmp_path), monkeypatch, "cuda", 1) == 32_768


@pytest.mark.parametrize("kind", ["cpu", "cuda"])
def test_what_the_recipe_says(base: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    assert tokens(base, monkeypatch, kind, 0, tokens_per_micro_batch=100) == 100
