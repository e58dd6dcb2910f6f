"""``embedkit recipes`` and ``embedkit env``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from embedkit.recipe.load import list_recipes, load_recipe
from embedkit.recipe.reading.find import headline, recipe_name
from tests.cli.conftest import Done

Run = Callable[..., Done]


def test_ls_lists_every_shipped_recipe_with_its_headline(embedkit: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    done = embedkit("recipes", "ls")
    assert done.code == 0
    found = list_recipes()
    assert len(found) >= 5
    for path in found:
        assert headline(path), f"{path} has no head comment"
        line = next(line for line in done.out.splitlines() if line.startswith(recipe_name(path) + " "))
        assert headline(path) in line


def test_show_prints_the_file_and_full_prints_every_default(embedkit: Run, work: Path) -> None:
    path = next(p for p in list_recipes() if recipe_name(p) == "unsup/simcse")
    assert embedkit("recipes", "show", "unsup/simcse").out == path.read_text()
    done = embedkit("recipes", "show", "unsup/simcse", "train.seed=7", "--full")
    Path("full.yaml").write_text(done.out)
    assert load_recipe("full.yaml") == load_recipe("unsup/simcse", ["train.seed=7"])


def test_cp_never_overwrites_without_force(embedkit: Run, work: Path) -> None:
    assert embedkit("recipes", "cp", "unsup/simcse").code == 0
    original = next(p for p in list_recipes() if recipe_name(p) == "unsup/simcse").read_bytes()
    assert Path("simcse.yaml").read_bytes() == original
    Path("simcse.yaml").write_text("mine\n")
    refused = embedkit("recipes", "cp", "unsup/simcse")
    assert refused.code == 1
    assert "simcse.yaml: exists already" in refused.err
    assert Path("simcse.yaml").read_text() == "mine\n"
    assert embedkit("recipes", "cp", "unsup/simcse", "--force").code == 0
    assert Path("simcse.yaml").read_bytes() == original
    assert embedkit("recipes", "cp", "unsup/simcse", "new/name.yaml").code == 0
    assert Path("new/name.yaml").read_bytes() == original


def test_keys_explain_a_block(embedkit: Run, work: Path) -> None:
    done = embedkit("recipes", "keys", "train")
    line = next(line for line in done.out.splitlines() if line.startswith("batch_size"))
    assert "a whole number, >= 1" in line
    assert "64" in line
    assert embedkit("recipes", "keys", "infonce").out.count("temperature") >= 2
    assert embedkit("recipes", "keys", "tarin").code == 2


def test_env_tells_versions_and_never_a_token(embedkit: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_verysecretvalue")
    done = embedkit("env")
    assert done.code == 0
    for word in (
        "embedkit",
        "python",
        "torch",
        "sentence-transformers",
        "threads",
        "memory",
        "Hub cache",
        "extra lora",
    ):
        assert any(line.startswith(word) for line in done.out.splitlines()), word
    assert "Hub token" in done.out
    assert "verysecret" not in done.out + done.err


def test_the_schema_is_json(embedkit: Run) -> None:
    done = embedkit("recipes", "schema")
    found = json.loads(done.out)
    assert done.code == 0 and done.err == ""
    assert found["$schema"].startswith("https://json-schema.org/") and "objective.infonce" in found["$defs"]
