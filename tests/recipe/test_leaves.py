"""Recipes as one value per key path."""

from __future__ import annotations

from embedkit.recipe.reading.leaves import leaves


def test_every_value_has_its_path() -> None:
    recipe = {
        "a": {"b": 1, "c": None},
        "list": [{"x": "y"}, {"x": [1, 2]}],
        "scalars": [0.5, None],
        "none": {},
        "no": [],
    }
    assert leaves(recipe) == {
        "a.b": 1,
        "a.c": None,
        "list.0.x": "y",
        "list.1.x": [1, 2],
        "scalars": [0.5, None],
        "none": {},
        "no": [],
    }
    assert leaves({}) == {}
