"""Modules that a recipe names under `plugins:`. They are code: each import is said before it happens."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from embedkit.errors import RecipeError
from embedkit.foreign import showing
from embedkit.foreign.quoting import quoted
from embedkit.recipe.reading.tree import Node

logger = showing.logger(__name__)


def named(tree: Node) -> list[Node]:
    """The values under `plugins:` that are texts."""
    found = tree.child("plugins")
    values = found.value if found is not None and isinstance(found.value, list) else []
    return [item for item in values if isinstance(item.value, str)]


def import_all(plugins: list[Node], file: Path) -> None:
    """Import modules; those beside the recipe and in the working folder are found too.

    Args:
        plugins: names of modules, with their places.
        file: the recipe.

    Raises:
        RecipeError: no name of a module; or its import failed, ended the process included.
    """
    for item in plugins:
        if not all(part.isidentifier() for part in item.value.split(".")):
            what = f"plugins: {quoted(item.value)} is not the name of a Python module"
            raise RecipeError(what, item.where, "name it as in `import`, e.g. my_losses")
    for folder in (str(file.resolve().parent), str(Path.cwd())):
        if folder not in sys.path:
            sys.path.append(folder)
    for item in plugins:
        try:
            if item.value not in sys.modules:
                logger.warning("%s: plugins: running %s%s", item.where, item.value, "".join(_place(item.value)))
                importlib.import_module(item.value)
        except (Exception, SystemExit) as error:
            what = f"plugins: importing {quoted(item.value)} failed: {type(error).__name__}: {error}"
            cure = "install the module, or put it beside the recipe; name it as in `import`"
            raise RecipeError(what, item.where, cure) from error


def _place(name: str) -> Iterator[str]:
    """Where the code is; of a package in a package the outer one, as finding the inner one would import that."""
    spec = importlib.util.find_spec(name.partition(".")[0])
    if spec is not None and spec.origin:
        place = Path(spec.origin)
        yield f" ({os.path.relpath(place) if place.is_relative_to(Path.cwd()) else place})"
