"""The JSON Schema of a recipe: takes every shipped one, and what it refuses `check` refuses too."""

from __future__ import annotations

import json
from typing import Any, get_args

import pytest

from embedkit.errors import RecipeError
from embedkit.recipe import registry
from embedkit.recipe.load import list_recipes, load_any
from embedkit.recipe.reading.describe import config_of
from embedkit.recipe.reading.json_schema import json_schema
from embedkit.recipe.reading.tree import read_tree
from embedkit.recipe.schema import Recipe
from embedkit.recipe.stages import Written

SCHEMA = json_schema()


@pytest.fixture(scope="module")
def validator() -> Any:
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    return jsonschema.Draft202012Validator(SCHEMA)


def test_every_block_and_every_name_is_in_it() -> None:
    assert set(SCHEMA["properties"]) == {*Written.model_fields, "extends"}
    for kind in get_args(registry.Kind):
        for name in registry.names(kind):
            keys = SCHEMA["$defs"][f"{kind}.{name}"]["properties"]
            assert set(keys) == set(config_of(kind, name).model_fields) and keys["name"]["const"] == name


def test_every_reference_leads_somewhere() -> None:
    text = json.dumps(SCHEMA)
    found = {part.split('"')[0] for part in text.split("#/$defs/")[1:]}
    assert found <= set(SCHEMA["$defs"]) and len(found) > 60


def test_one_name_stands_for_one_block() -> None:
    seen: dict[str, Any] = {}
    bases = {"ObjectiveConfig", "WeightingConfig", "HeadConfig", "TransformConfig", "AuxiliaryConfig", "StrategyConfig"}
    models = [config_of(kind, name) for kind in get_args(registry.Kind) for name in registry.names(kind)]
    for model in [Recipe, *models]:
        for name, block in model.model_json_schema().get("$defs", {}).items():
            assert name in bases or seen.setdefault(name, block) == block, name


def test_every_shipped_recipe_fits(validator: Any) -> None:
    found = list_recipes()
    assert len(found) >= 29
    for path in found:
        errors = list(validator.iter_errors(read_tree(path, str(path)).plain()))
        assert not errors, (path, errors[0].message)


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("data: {sources: [{path: a.txt}]}", True),
        ("extends: unsup/simcse\ntrain: {learning_rate: 3e-5}", True),
        ("extends: unsup/simcse\nobjective: {temperature: 0.02}", True),
        ("data: {sources: [{path: a.txt}]}\nobjective: infonce", True),
        ("data: {sources: [{path: a.txt}]}\nweighting: [{name: focal, gamma: 0.5}]", True),
        ("data: {sources: [{path: a.txt}]}\nstages: [{name: one}, {name: two, train: {epochs: 2.0}}]", True),
        (
            "stages: [{name: one, data: {sources: [{path: a.txt}]}}, {name: two, data: {sources: [{path: a.txt}]}}]",
            True,
        ),
        ("data: {sources: [{path: a.txt}]}\nstages: [{nme: one}]", False),
        ("train: {epochs: 1}", False),
        ("data: {sources: [{path: a.txt}]}\ntrain: {lerning_rate: 1.0}", False),
        ("data: {sources: [{path: a.txt}]}\ntrain: {learning_rate: fast}", False),
        ("data: {sources: [{path: a.txt}]}\nobjective: {name: infonse}", False),
        ("data: {sources: [{path: a.txt}]}\nobjective: {name: infonce, gamma: 1.0}", False),
        ("data: {sources: []}", False),
        ("data: {sources: [{path: a.txt}]}\npublish: {private: true}", False),
    ],
)
def test_it_agrees_with_the_reader(validator: Any, tmp_path: Any, text: str, good: bool) -> None:
    (tmp_path / "r.yaml").write_text(text)
    (tmp_path / "a.txt").write_text("one\n")
    assert validator.is_valid(read_tree(tmp_path / "r.yaml", "r.yaml").plain()) is good
    if good:
        load_any(tmp_path / "r.yaml")
    else:
        with pytest.raises(RecipeError):
            load_any(tmp_path / "r.yaml")
