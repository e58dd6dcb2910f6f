from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from embedkit.model.running.encoder import Encoder
from tests.tiny import tiny_bert

Load = Callable[..., Encoder]


def test_equal_for_the_same_model(load: Load, tmp_path: Path) -> None:
    first = load(pooling="cls", prompts={"query": "bade "})
    mark = first.fingerprint()
    first.encode(["bade defi"], max_length=5)
    assert first.fingerprint() == mark, "encoding leaves traces in the tokenizer, which are not the model"
    first.save(tmp_path / "elsewhere")
    assert load(tmp_path / "elsewhere").fingerprint() == mark


@pytest.mark.parametrize(
    "options",
    [
        {"pooling": "cls"},
        {"pooling": "first_last_mean"},
        {"normalize": True},
        {"max_length": 32},
        {"prompts": {"query": "bade "}},
        {"prompts": {"document": "bade "}},
        {"include_prompt_in_pooling": False},
        {"head": {"keep": True}},
        {"head": {"keep": True, "activation": "identity"}},
    ],
    ids=str,
)
def test_every_setting_that_changes_an_embedding_changes_it(load: Load, options: dict[str, Any]) -> None:
    assert load(**options).fingerprint() != load().fingerprint()


@pytest.mark.parametrize("options", [{"dropout": 0.3}, {"attention": "eager"}, {"freeze": ["all"]}], ids=str)
def test_what_changes_no_embedding_does_not(load: Load, options: dict[str, Any]) -> None:
    assert load(**options).fingerprint() == load().fingerprint()


def test_one_weight_is_enough(load: Load) -> None:
    encoder = load()
    mark = encoder.fingerprint()
    with torch.no_grad():
        encoder.st[0].auto_model.encoder.layer[0].output.dense.bias[0] += 1e-7
    assert encoder.fingerprint() != mark


def test_another_vocabulary_is_another_model(load: Load, tmp_path: Path) -> None:
    base = tiny_bert(tmp_path / "other", layers=3)
    tokens = base / "tokenizer.json"
    text = tokens.read_text()
    tokens.write_text(text.replace('"bade"', '"#"').replace('"defi"', '"bade"').replace('"#"', '"defi"'))
    assert load(base).fingerprint() != load().fingerprint()
