"""The table of methods: which recipe each one is, and what is set differently for it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from embedkit.errors import RecipeError

DEFAULT = Path(__file__).with_name("methods.yaml")
KINDS = ("train", "base", "whitening")
PLACES = ("base", "generator", "text", "groups")
REFERENCE = "simcse"
"""The method that the others are compared with, in scores and in time per step."""


@dataclass(frozen=True)
class Method:
    """One row of the comparison.

    Attributes:
        name: in the table, in folders and on the command line.
        title: on the page.
        kind: ``train`` (a recipe), ``base`` (the untrained base), ``whitening`` (post hoc, no training).
        recipe: name of a shipped recipe.
        paper: where the method is from.
        pooling: of ``base`` and ``whitening``.
        settings: overrides of the recipe. ``{base}``, ``{generator}`` (a masked language model), ``{text}``,
            ``{groups}`` (groups of about six coordinates of an embedding) and ``{NAME}`` (the model that method NAME
            trained with the same seed) are filled in.
        why: where the settings come from.
        text: whether the recipe's first source is the text of the comparison.
    """

    name: str
    title: str
    kind: str = "train"
    recipe: str = ""
    paper: str = ""
    pooling: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    why: str = ""
    text: bool = True

    @property
    def needs(self) -> list[str]:
        """Methods whose models the settings name."""
        texts = " ".join(str(value) for value in self.settings.values())
        return sorted(set(re.findall(r"\{([\w+-]+)\}", texts)) - set(PLACES))

    @property
    def seeded(self) -> bool:
        """Whether runs with other seeds differ."""
        return self.kind == "train"


def read(path: Path = DEFAULT) -> dict[str, Method]:
    """All methods of a table, in its order.

    Raises:
        RecipeError: the file is not there or an entry is wrong.
    """
    try:
        found = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"cannot be read: {error.strerror}", str(path), "give a table with --table") from error
    methods = {}
    for name, entry in found.items():
        unknown = set(entry) - set(Method.__dataclass_fields__)
        if unknown or entry.get("kind", "train") not in KINDS or "title" not in entry:
            what = f"{name}: unknown keys {sorted(unknown)}" if unknown else f"{name}: wrong kind, or no title"
            keys = ", ".join(key for key in Method.__dataclass_fields__ if key != "name")
            raise RecipeError(what, str(path), f"keys: {keys}; kinds: {', '.join(KINDS)}")
        methods[name] = Method(name=name, **entry)
    return methods


def choose(methods: Mapping[str, Method], names: Sequence[str]) -> list[Method]:
    """The methods called `names` (all when empty), in the table's order, with what they need and the reference.

    Raises:
        RecipeError: an unknown name.
    """
    unknown = [name for name in names if name not in methods]
    if unknown:
        raise RecipeError(f"no method called {', '.join(unknown)}", "--methods", f"known: {', '.join(methods)}")
    wanted = set(names) or set(methods)
    while more := {need for name in wanted for need in methods[name].needs} - wanted:
        wanted |= more
    if any(methods[name].kind == "train" for name in wanted):
        wanted.add(REFERENCE)
    order = sorted(methods, key=lambda name: len(chain(methods, name)))  # a model before those that need it
    return [methods[name] for name in order if name in wanted]


def chain(methods: Mapping[str, Method], name: str) -> set[str]:
    """Every method that must be trained before `name`."""
    found: set[str] = set()
    left = [name]
    while left:
        for need in methods[left.pop()].needs:
            if need not in methods:
                raise RecipeError(f"{name} needs {need}, which is not in the table", "methods", "add it")
            if need not in found:
                found.add(need)
                left.append(need)
    return found


def overrides(method: Method, common: Mapping[str, Any], places: Mapping[str, str]) -> list[str]:
    """``key=value`` for `load_recipe`: the comparison's own settings, then the method's.

    Args:
        method: the method.
        common: settings of the comparison.
        places: what ``{base}``, ``{text}`` and ``{NAME}`` stand for.
    """
    merged = {**common, **method.settings}
    return [f"{key}={_filled(value, places)}" for key, value in merged.items()]


def _filled(value: Any, places: Mapping[str, str]) -> str:
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    for name, place in places.items():
        text = text.replace(f"{{{name}}}", place)
    return text
