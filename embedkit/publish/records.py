"""A run's record and recipe as they may be passed on: no secrets, no places on this machine, no rows of data."""

from __future__ import annotations

import copy
import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from embedkit.errors import RecipeError
from embedkit.foreign.redacting import redact
from embedkit.foreign.showing import shown, shown_deep
from embedkit.publish.places import without_places
from embedkit.recipe.reading.tree import parse
from embedkit.types import RunRecord


def passed_on(record: RunRecord, recipe: str, run: Path) -> tuple[RunRecord, str]:
    """Record and recipe without what is nobody else's business. The owner's words for the card stay as they are, but
    for secrets.

    Args:
        record: of the run.
        recipe: its recipe as YAML.
        run: its folder.
    """
    words = redact(record.recipe.get("card"))
    plain = {**vars(record), "recipe": _without_rows(record.recipe), "model": {**record.model}}
    plain["model"].pop("card", None)
    cleaned = without_places(redact({"record": plain, "recipe": recipe_without_rows(recipe)}), run)
    seen = shown_deep(cleaned["record"])
    seen["recipe"] = cleaned["record"]["recipe"] | ({} if words is None else {"card": words})
    seen["model"] = {**seen["model"], **{k: v for k, v in redact(record.model).items() if k == "prompts"}}
    return replace(record, **seen), shown(cleaned["recipe"], lines=True)


def recipe_without_rows(text: str) -> str:
    """A recipe as YAML; rows that are written in it are data, and are left out with a word about it.

    Of a damaged one nobody knows what is data: it is left out whole.
    """
    from ruamel.yaml import YAML

    if "rows:" not in text:
        return text
    try:
        parse(text, "recipe.yaml")
    except RecipeError as error:
        return f"# The recipe of the run is damaged, and is left out here: {error.what}\n"
    yaml = YAML()
    yaml.width = 2**20
    yaml.indent(mapping=2, sequence=4, offset=2)
    found = yaml.load(text)
    left_out = [len(source["rows"]) for source in _with_rows(found)]
    if not left_out:
        return text
    for source in _with_rows(found):
        source["rows"] = []
    stream = io.StringIO()
    yaml.dump(found, stream)
    return f"# {sum(left_out):,} rows of data that are written in the recipe are left out here.\n{stream.getvalue()}"


def _without_rows(recipe: dict[str, Any]) -> dict[str, Any]:
    if not any(True for _ in _with_rows(recipe)):
        return recipe
    recipe = copy.deepcopy(recipe)
    for source in _with_rows(recipe):
        source["rows"] = []
    return recipe


def _with_rows(recipe: Any) -> Iterator[Any]:
    data = recipe.get("data") if isinstance(recipe, dict) else None
    for source in (data.get("sources") if isinstance(data, dict) else None) or ():
        if isinstance(source, dict) and source.get("rows"):
            yield source
