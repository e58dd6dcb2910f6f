"""Miners and strategies made of the `mining` block of a recipe, in the training and beside it."""

from __future__ import annotations

import importlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from embedkit.disk import paths
from embedkit.mining.filters.named import Setting, build
from embedkit.mining.miner import By, Miner
from embedkit.mining.problem import Problem
from embedkit.mining.shares import ALONE, Team
from embedkit.mining.strategies.base import Strategy
from embedkit.recipe import registry
from embedkit.recipe.filters import parse_all
from embedkit.recipe.mining import Mining, Search
from embedkit.vectors.store import VectorStore

VECTORS, SCRATCH = "vectors", "index"
"""Folders below that of a run's searches."""
PATHS = "paths"
"""Key of where the paths of every filter lead on this machine, which decides nothing."""


def settings_of(block: Mining, plugins: tuple[str, ...] = ()) -> dict[str, Any]:
    """The block as plain data, with the modules that may have registered its strategy and where its paths lead."""
    beside = {"plugins": list(plugins), PATHS: [_plain(text) for text in block.filters]}
    found: dict[str, Any] = json.loads(json.dumps({**block.model_dump(mode="json"), **beside}))
    return found


def key_of(settings: Mapping[str, Any]) -> str:
    """Stands for what decides about the result of a search; when it happens does not."""
    beside = ("refresh", "mode", "lag", "from", "device", "threads", "corpus", "ram_gb", "batch_tokens", PATHS)
    return json.dumps({name: value for name, value in settings.items() if name not in beside}, sort_keys=True)


def made_miner(
    problem: Problem, settings: Mapping[str, Any], folder: Path, device: str, team: Team = ALONE, progress: bool = False
) -> Miner:
    """The miner of one source.

    Args:
        problem: its queries and documents.
        settings: of `settings_of`.
        folder: of the run's searches.
        device: of exact search.
        team: the processes that search together.
        progress: show bars.
    """
    search = Search(**{name: settings[name] for name in Search.model_fields})
    store = VectorStore(folder / VECTORS, ram_gb=search.ram_gb / 2)
    options = {"seed": search.seed, "device": device, "batch_tokens": settings["batch_tokens"], "progress": progress}
    texts = [_holding(text, inside) for text, inside in zip(search.filters, settings[PATHS], strict=True)]
    filters = build(parse_all(texts), Setting(problem, store, **options))
    return Miner(
        problem,
        search,
        store,
        filters=filters,
        team=team,
        device=device,
        scratch=folder / SCRATCH,
        method="faiss",  # the faster one is found by timing, and a resumed run must find the same
        progress=progress,
    )


def made_strategy(settings: Mapping[str, Any]) -> Strategy:
    """The strategy, with its options; in another process than the recipe was read in, plug-ins are imported again."""
    for name in settings["plugins"]:
        importlib.import_module(name)
    options = dict(settings["strategy"])
    found: Strategy = registry.resolve(registry.lookup("strategy", options.pop("name")).target)(**options)
    return found


def _plain(text: str) -> dict[str, Any]:
    inside = text.inside if isinstance(text, paths.Holding) else {}
    return {
        part: {"written": path, "places": list(map(str, path.places)), "looked": list(map(str, path.looked))}
        for part, path in inside.items()
    }


def _holding(text: str, inside: Mapping[str, Any]) -> str:
    found = {
        part: paths.Located(own["written"], [Path(p) for p in own["places"]], [Path(p) for p in own["looked"]])
        for part, own in inside.items()
    }
    return paths.Holding(text, found) if found else text


def tidy_store(folder: Path, by: By) -> None:
    """Remove the vectors of models that are no longer there; those of a frozen tower stay."""
    root = folder / VECTORS
    for space in root.glob("*") if root.is_dir() else ():
        if space.is_dir() and space.name not in by.spaces:
            shutil.rmtree(space, ignore_errors=True)
