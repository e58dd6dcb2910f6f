"""The objectives that a recipe may name: what each needs, where it comes from, what it was checked against."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from embedkit.recipe import registry
from embedkit.recipe.load import LoadedStages, list_recipes, load_any
from embedkit.recipe.objectives.base import ObjectiveConfig
from embedkit.recipe.reading.describe import config_of, first_paragraph
from embedkit.recipe.reading.find import recipe_name

GOLDEN = Path(__file__).parents[1] / "objectives" / "golden.json"
"""Entries of golden values that each objective reproduces; ``python -m tests.conformance --status`` renews it."""
_ORDER = ("query", "positive", "negative", "score", "label")
_ARXIV = re.compile(r"arXiv:? ?(\d{4}\.\d{4,5})")


@dataclass(frozen=True)
class Shown:
    """One objective.

    Attributes:
        name: as a recipe says it.
        line: what it is.
        data: the roles that a source must give.
        negatives: where its negatives come from.
        scope: ``row``, one loss a row; ``batch``, one over the whole batch; ``wrapper``, made of others.
        remembers: whether it keeps state between steps.
        golden: entries of the authors' own values that it conforms to.
    """

    name: str
    line: str
    data: str
    negatives: str
    scope: str
    remembers: bool
    golden: int


def catalogue() -> list[Shown]:
    """All objectives, in the order of the registry, plug-ins last."""
    return [shown(name) for name in registry.names("objective")]


def shown(name: str) -> Shown:
    """One objective by name.

    Raises:
        RecipeError: unknown name; the message gives the nearest one.
    """
    config = config_of("objective", name)
    assert issubclass(config, ObjectiveConfig)
    wraps = config.inner is not ObjectiveConfig.inner
    roles = [role for role in _ORDER if role in config.needs]
    return Shown(
        name,
        first_paragraph(config),
        "those of what it wraps" if wraps else ", ".join(roles) or "any",
        _negatives(config, wraps),
        "wrapper" if wraps else config.scope,
        config.remembers,
        _golden().get(name, 0),
    )


def recipes_with(name: str) -> list[str]:
    """The shipped recipes that train with an objective, alone or inside another."""
    found = []
    for path in list_recipes():
        loaded = load_any(str(path))
        parts = loaded.parts if isinstance(loaded, LoadedStages) else (loaded,)
        own = [part.recipe.objective for part in parts]
        of_sources = [source.objective for part in parts for source in part.recipe.data.sources]
        if any(name in _names(one) for one in (*own, *of_sources) if one is not None):
            found.append(recipe_name(path))
    return found


def papers(*texts: str) -> list[str]:
    """Addresses of the papers that docstrings name."""
    return list(dict.fromkeys(f"https://arxiv.org/abs/{number}" for text in texts for number in _ARXIV.findall(text)))


def _negatives(config: type[ObjectiveConfig], wraps: bool) -> str:
    if wraps:
        return "those of what it wraps"
    sources = [word for word, there in (("in-batch", config.in_batch), ("own", "negative" in config.needs)) if there]
    if config.without_negatives:
        return "none"
    return " + ".join(sources) or ("what it remembers" if config.remembers else "none")


def _names(config: ObjectiveConfig) -> set[str]:
    return {config.name}.union(*(_names(one) for one in config.inner()))


@cache
def _golden() -> dict[str, int]:
    found: dict[str, int] = json.loads(GOLDEN.read_text(encoding="utf-8"))
    return found
