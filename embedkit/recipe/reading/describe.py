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
    place = Place(model)
    rows = []
    for key in model.model_fields:
        child = place.child(key)
        assert child is not None
        rows.append((key, child.words(), child.default(), (child.field.description if child.field else "") or ""))
    return inspect.cleandoc(model.__doc__ or "").split("\n\n")[0].replace("\n", " "), rows


def _model(block: str) -> type[BaseModel]:
    if not block:
        return Recipe
    kinds: tuple[registry.Kind, ...] = get_args(registry.Kind)
    for kind in kinds:
        if block in registry.names(kind) and block not in Recipe.model_fields:
            config: type[BaseModel] = registry.resolve(registry.lookup(kind, block).config)
            return config
    place: Place | None = Place.find(Recipe, Node({}, ""), block.split("."))
    blocks = place.blocks() if place else []
    if place is not None and not blocks:
        element = place.child(0)
        blocks = element.blocks() if element else []
    if not blocks:
        known = [*Recipe.model_fields, *(name for kind in kinds for name in registry.names(kind))]
        near = nearest(block, known)
        hint = f"did you mean {near!r}? " if near else ""
        raise RecipeError(f"no block {block!r}", cure=f"{hint}known: {', '.join(known)}")
    return blocks[0]
