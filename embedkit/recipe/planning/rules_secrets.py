"""Rules about secrets in a recipe: it is stored with the run, in every checkpoint and in the report, and passed on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from embedkit.foreign.redacting import HIDDEN, PLACEHOLDER, places
from embedkit.recipe.planning.context import Context, problem
from embedkit.recipe.reading.problems import Problem
from embedkit.recipe.reading.tree import KeyPath

CURE = (
    "take it out: the Hub's libraries read $HF_TOKEN, others variables of their own; what the run stores and shows "
    f"says {PLACEHOLDER} instead"
)


def no_placeholder(c: Context) -> Iterator[Problem]:
    """A recipe that a run stored says where a secret was left out; it cannot be used without it."""
    for path, text in _texts(c.recipe.model_dump(mode="python"), ()):
        if PLACEHOLDER in text or HIDDEN in text:
            what = "a secret was left out here when the recipe was stored"
            yield problem(path, what, f"give it again, e.g. `{'.'.join(map(str, path))}=...`, or use the first recipe")


def no_secret(c: Context) -> Iterator[Problem]:
    for path, kind in places(c.recipe.model_dump(mode="python")):
        yield problem(path, f"holds what looks like {kind}", CURE)


def _texts(value: Any, path: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, (dict, list, tuple)):
        for key, inside in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _texts(inside, (*path, key))


REFUSALS = [no_placeholder]
WARNINGS = [no_secret]
