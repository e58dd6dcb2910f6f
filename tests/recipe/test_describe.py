"""The schema explains itself: every key, in words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from embedkit.errors import RecipeError
from embedkit.recipe import registry
from embedkit.recipe.reading.describe import describe
from embedkit.recipe.reading.fields import Place, elsewhere, nearest, show
from embedkit.recipe.schema import Recipe
from embedkit.recipe.suite import Suite

OBVIOUS = {
    "base",
    "name",
    "seed",
    "device",
    "sources",
    "type",
    "pydocs_split",
    "tasks",
    "description",
    "objective",
    "terms",
}
"""Keys that need no sentence."""


def blocks() -> list[type[BaseModel]]:
    """Every block of the schema, the options of all registered names included."""
    found: dict[type[BaseModel], None] = {}

    def walk(model: type[BaseModel]) -> None:
        if model in found:
            return
        found[model] = None
        for field in model.model_fields.values():
            for part in _parts(field.annotation):
                if isinstance(part, type) and issubclass(part, BaseModel):
                    walk(part)

    walk(Recipe)
    walk(Suite)
    kinds: tuple[registry.Kind, ...] = ("objective", "weighting")
    for kind in kinds:
        for name in registry.names(kind):
            walk(registry.resolve(registry.lookup(kind, name).config))
    return list(found)


def _parts(annotation: Any) -> Iterator[Any]:
    yield annotation
    for argument in get_args(annotation):
        yield from _parts(argument)


def test_all_blocks_are_found() -> None:
    names = {block.__name__ for block in blocks()}
    assert {
        "Recipe",
        "Model",
        "Lora",
        "Source",
        "Train",
        "Eval",
        "StsTask",
        "InfoNCE",
        "Focal",
        "PydocsSource",
    } <= names


@pytest.mark.parametrize("block", blocks(), ids=lambda b: b.__name__)
def test_every_key_has_a_description_or_an_obvious_meaning(block: type[BaseModel]) -> None:
    assert block.__doc__
    for key, field in block.model_fields.items():
        parts = list(_parts(field.annotation))
        numeric = int in parts or float in parts
        is_block = any(isinstance(p, type) and issubclass(p, BaseModel) for p in parts)
        if numeric and not is_block:
            assert field.description, f"{block.__name__}.{key} is a number without a description"
        assert field.description or key in OBVIOUS or is_block, f"{block.__name__}.{key} has no description"


@pytest.mark.parametrize("block", blocks(), ids=lambda b: b.__name__)
def test_every_key_says_its_type_in_words(block: type[BaseModel]) -> None:
    for key in block.model_fields:
        place = Place(block).child(key)
        assert place is not None
        assert place.words()
        assert "typing." not in place.help()
        assert "<class" not in place.help()


def test_words_bounds_and_defaults() -> None:
    rows = {key: rest for key, *rest in describe("train")[1]}
    assert rows["batch_size"][:2] == ["a whole number, >= 1 and <= 10000000", "64"]
    assert rows["warmup"][:2] == ["a number, >= 0 and <= 1", "0.0"]
    assert rows["steps"][:2] == ["a whole number or null, > 0", "null"]
    assert rows["schedule"][0] == "one of linear, cosine, constant"
    assert rows["report_to"][:2] == ["a list of texts", "[]"]


def test_blocks_by_path_and_by_name() -> None:
    assert [key for key, *_ in describe("")[1]][:3] == ["plugins", "model", "data"]
    assert "hub" in [key for key, *_ in describe("data.sources")[1]]
    assert "r" in [key for key, *_ in describe("model.lora")[1]]
    assert [key for key, *_ in describe("focal")[1]] == ["name", "gamma", "detach", "normalize"]
    assert "temperature" in [key for key, *_ in describe("infonce")[1]]
    with pytest.raises(RecipeError, match=r"no block 'trian'\n  cure: did you mean 'train'\?"):
        describe("trian")


def test_nearest_words() -> None:
    assert nearest("lr", ["learning_rate", "seed"]) == "learning_rate"
    assert nearest("SEED", ["learning_rate", "seed"]) == "seed"
    assert nearest("zzz", ["learning_rate", "seed"]) is None
    assert elsewhere(Recipe, "seed") == "train.seed"
    assert elsewhere(Recipe, "max_seq_length") == "model.max_length"
    assert elsewhere(Recipe, "zzz") is None


def test_values_are_shown_as_yaml_writes_them() -> None:
    assert [show(v) for v in (None, True, "a", [1, "b"], {"k": 2.5})] == ["null", "true", "'a'", "[1, 'b']", "{k: 2.5}"]
    assert len(show("x" * 500)) == 80
