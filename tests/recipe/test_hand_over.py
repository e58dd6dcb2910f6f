"""The blocks `card` and `publish`: what they take, and that they change no identity."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from embedkit.recipe.hand_over import Benchmark, Card, Publish
from embedkit.recipe.load import dump
from embedkit.recipe.reading.dump import recipe_hash
from embedkit.recipe.schema import Recipe

PLAIN = {"data": {"sources": [{"path": "a.txt"}]}}


@pytest.mark.parametrize("name", ["user/name", "Org-1/my_model.v2", "a/b", "u.v/_x"])
def test_names_of_the_hub(name: str) -> None:
    assert Publish(to=name).to == name and Publish(to=name).private


@pytest.mark.parametrize(
    "name",
    [
        "name",
        "/name",
        "user/",
        "a/b/c",
        "a b/c",
        "user/na--me",
        "user/na..me",
        "user/x.git",
        "../x",
        "-a/b",
        "a/" + "b" * 99,
    ],
)
def test_no_names_of_the_hub(name: str) -> None:
    with pytest.raises(ValidationError, match="is no name on the Hub"):
        Publish(to=name)
    with pytest.raises(ValidationError, match="is no name on the Hub"):
        Benchmark(task="a", dataset=name, task_id="b")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"license": "Apache License 2.0"}, "no name of a licence"),
        ({"license": "other"}, "license_name belongs"),
        ({"license": "mit", "license_name": "x"}, "license_name belongs"),
        ({"languages": ["english"]}, "no code of a language"),
        ({"languages": ["EN"]}, "no code of a language"),
        ({"licence": "mit"}, "Extra inputs"),
    ],
)
def test_what_the_hub_would_refuse_is_refused_at_once(words: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Card(**words)


def test_they_are_part_of_the_recipe_but_not_of_its_hash() -> None:
    plain = Recipe.model_validate(PLAIN)
    more = Recipe.model_validate({**PLAIN, "card": {"title": "A"}, "publish": {"to": "a/b"}})
    assert recipe_hash(plain) == recipe_hash(more) and "card" not in dump(plain) and "publish" not in dump(plain)
    assert "title: A" in dump(more) and "to: a/b" in dump(more)
