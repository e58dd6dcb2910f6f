"""A run's data: its sources read, and what is made of them before training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from embedkit.data.sources import LoadedSource, load_source
from embedkit.recipe.schema import Model, Recipe, Source
from embedkit.workspace import RunFolder


def load_sources(
    recipe: Recipe,
    base_dir: Path,
    folder: RunFolder,
    model: Model,
    *,
    say: Callable[[Any], None] = print,
    progress: bool = False,
) -> list[LoadedSource]:
    """Read every source; make triplets where a `debias` block asks for them.

    In a run of several processes this belongs to process 0 first: the others then find the triplets in `folder`.

    Args:
        recipe: what to read.
        base_dir: folder of the recipe.
        folder: of the run.
        model: the recipe's model block with its path resolved; judges meaning where no guide is named.
        say: receives lines about what was made.
        progress: show bars.
    """
    loaded = [load_source(s, base_dir, seed=recipe.train.seed, progress=progress) for s in recipe.data.sources]

    def prepared(index: int, source: Source) -> LoadedSource:
        options = source.debias
        if options is None:
            return loaded[index]
        from embedkit.mining.debias import summary, triplet_source
        from embedkit.mining.guide import load_guide

        made = triplet_source(
            loaded[index],
            options,
            lambda: load_guide(options.guide, model, base_dir, recipe.train.device),
            folder=folder.triplets(index),
            name=options.guide or recipe.model.base,
            progress=progress,
        )
        for line in summary(made.made["debias"]):
            say(f"{made.name}: {line}")
        return made

    return [prepared(index, source) for index, source in enumerate(recipe.data.sources)]
