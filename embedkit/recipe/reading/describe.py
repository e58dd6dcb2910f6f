"""The keys of a block, explained from the schema."""

from __future__ import annotations

import inspect
from typing import get_args

from pydantic import BaseModel

from embedkit.errors import RecipeError
from embedkit.recipe import registry
from embedkit.recipe.reading.fields import Place, nearest
from embedkit.recipe.reading.tree import Node
from embedkit.recipe.schema import Recipe


def describe(block: str) -> tuple[str, list[tuple[str, str, str, str]]]:
    """What a block is, and (key, type, default, meaning) of each of its keys.

    Args:
        block: a key path such as ``data.sources``, a registered name (an objective, ...), or "" for the top.

    Raises:
        RecipeError: there is no such block.
    """
    model = _model(block)
    return first_paragraph(model), keys_of(model)


def keys_of(model: type[BaseModel]) -> list[tuple[str, str, str, str]]:
    """(key, type, default, meaning) of each key of a block."""
    place = Place(model)
    rows = []
    for key in model.model_fields:
        child = place.child(key)
        assert child is not None
        rows.append((key, child.words(), child.default(), (child.field.description if child.field else "") or ""))
    return rows


def first_paragraph(model: type[BaseModel]) -> str:
    """What a block is, in one line."""
    return inspect.cleandoc(model.__doc__ or "").split("\n\n")[0].replace("\n", " ")


def names_of(block: str) -> list[tuple[str, str]]:
    """The names that a block may have, and what each is; empty for a block that has none (`train`)."""
    place = Place.find(Recipe, Node({}, ""), block.split(".")) if block else None
    kind = _element_kind(place)
    if kind is None:
        return []
    return [(name, first_paragraph(config_of(kind, name))) for name in registry.names(kind)]


def config_of(kind: registry.Kind, name: str) -> type[BaseModel]:
    """The options of a registered name."""
    found: type[BaseModel] = registry.resolve(registry.lookup(kind, name).config)
    return found


def _element_kind(place: Place | None) -> registry.Kind | None:
    """The kind that a list holds, lists of lists included."""
    while place is not None and place.named() is None:
        place = place.child(0)
    return None if place is None else place.named()


def _model(block: str) -> type[BaseModel]:
    if not block:
        return Recipe
    kinds: tuple[registry.Kind, ...] = get_args(registry.Kind)
    for kind in kinds:
        if block in registry.names(kind) and block not in Recipe.model_fields:
            return config_of(kind, block)
    place: Place | None = Place.find(Recipe, Node({}, ""), block.split("."))
    blocks = place.blocks() if place else []
    while place is not None and not blocks:  # a list's elements, lists of lists included
        place = place.child(0)
        blocks = place.blocks() if place else []
    if not blocks:
        known = [*Recipe.model_fields, *(name for kind in kinds for name in registry.names(kind))]
        near = nearest(block, known)
        hint = f"did you mean {near!r}? " if near else ""
        raise RecipeError(f"no block {block!r}", cure=f"{hint}known: {', '.join(known)}")
    return blocks[0]
