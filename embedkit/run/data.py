"""A run's data: its sources read, and what is made of them before training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from embedkit.data.clusters import ClusterOrder
from embedkit.data.generated import as_asked
from embedkit.data.label_texts import label_text_source
from embedkit.data.pairs import paired_source
from embedkit.data.score_split import split_source
from embedkit.data.sources import LoadedSource, load_source
from embedkit.data.templates import templated_source
from embedkit.disk import paths
from embedkit.disk.folders import RunFolder
from embedkit.errors import DataError
from embedkit.inputs.cures import Cures
from embedkit.inputs.quotes import LEFT_OPEN
from embedkit.inputs.records import PEEK
from embedkit.model.running.encoder import Encoder
from embedkit.recipe.clusters import Clusters
from embedkit.recipe.schema import Recipe, Source
from embedkit.run.state import Run, process_zero_first
from embedkit.terminal import output

_REPEATED = "a batch repeats its rows"
_ODD = (LEFT_OPEN, _REPEATED)
"""How lines of `_odd` are known again in the record."""


def load_sources(
    recipe: Recipe,
    folder: RunFolder,
    *,
    say: Callable[[Any], None] = output.say,
    progress: bool = False,
) -> list[LoadedSource]:
    """Read every source; leave generated duplicates out; make of the rows what `templates`, `pairs`, `label_texts`,
    `score_split`, `debias` or `clusters` ask for.

    In a run of several processes this belongs to process 0 first: the others then find the triplets in `folder`.

    Args:
        recipe: what to read.
        folder: of the run.
        say: receives lines about what was made.
        progress: show bars.
    """
    sources, peek = recipe.data.sources, max(PEEK, recipe.train.batch_size)
    loaded = [
        load_source(s, seed=recipe.train.seed, progress=progress, peek=peek, cures=Cures.of_source(index))
        for index, s in enumerate(sources)
    ]
    loaded = as_asked(recipe.data, loaded)

    def prepared(index: int, source: Source) -> LoadedSource:
        options = source.debias
        if source.templates is not None:
            loaded[index] = templated_source(loaded[index], source.templates)
        if source.pairs is not None:
            return paired_source(loaded[index], source.pairs)
        if source.score_split is not None:
            loaded[index] = split_source(loaded[index], source.score_split)
        if source.label_texts is not None:
            loaded[index] = label_text_source(loaded[index], source.label_texts)
        if source.clusters is not None:
            return _clustered(loaded[index], source.clusters, recipe, folder.clusters(index), progress)
        if options is None:
            return loaded[index]
        from embedkit.mining.debias import summary, triplet_source
        from embedkit.mining.guide import load_guide

        made = triplet_source(
            loaded[index],
            options,
            lambda: load_guide(options.guide, recipe.model, recipe.train.device),
            folder=folder.triplets(index),
            name=options.guide or recipe.model.base,
            progress=progress,
        )
        for line in summary(made.made["debias"]):
            say(f"{made.name}: {line}")
        return made

    return [prepared(index, source) for index, source in enumerate(sources)]


def _clustered(source: LoadedSource, options: Clusters, recipe: Recipe, folder: Path, progress: bool) -> LoadedSource:
    """The source with the clusters of its rows, and what the record says of them."""
    clusters = source.clusters
    if options.kmeans is not None:
        from embedkit.mining.clusters import kmeans_clusters
        from embedkit.mining.guide import load_guide

        def loading(name: str | None) -> Callable[[], Encoder]:
            return lambda: load_guide(name, recipe.model, recipe.train.device, "clusters.model")

        clusters = kmeans_clusters(
            source,
            options,
            [(name or recipe.model.base, loading(name)) for name in options.models],
            folder=folder,
            seed=recipe.train.seed,
            progress=progress,
        )
    if clusters is None:
        what = "the rows have no clusters"
        raise DataError(what, source.name, "name a column in `roles: {cluster: COLUMN}`, or set clusters.kmeans")
    sizes = np.unique(clusters, return_counts=True)[1]
    size = recipe.train.batch_size
    full = ClusterOrder(clusters, options.batches, options.rest).full(size)
    made = {"count": len(sizes), "largest": int(sizes.max()), "smallest": int(sizes.min()), "batches": full}
    made["left_out"] = len(clusters) - full * size
    return replace(source, clusters=clusters, made={**source.made, "clusters": made})


def load(run: Run) -> None:
    """Read the run's data, say what is odd about it, and record what was read."""
    with run.timed("data"), process_zero_first(run.comm):
        run.sources = load_sources(run.recipe, run.folder, say=run.say, progress=run.progress)
    record(run)
    for line in _odd(run):
        run.say(f"warning      {line}")


def record(run: Run) -> None:
    """Ids, rows and skipped rows of the sources; called after training too, because a stream skips as it reads."""
    run.record.data = [
        {"name": s.name, "rows": s.rows, "digest": s.digest, "skipped": dict(s.skipped), "roles": sorted(s.roles)}
        | ({} if config.hub is None or paths.folder(config.hub) is not None else {"hub": str(config.hub)})
        | s.made
        for s, config in zip(run.sources, run.recipe.data.sources, strict=True)
    ]
    again, odd = (" rows skipped: ", *_ODD), _odd(run)
    before = [w for w in run.record.warnings if w not in odd and not any(words in w for words in again)]
    run.record.warnings = before + odd
    for s in run.sources:
        run.record.warnings += [f"{s.name}: {count} rows skipped: {why}" for why, count in s.skipped.items()]


def _odd(run: Run) -> list[str]:
    """What is odd about the rows that are used. Whether a local stream fills a batch is known to the plan."""
    batch = run.recipe.train.batch_size
    found = [f"{s.name}: {line}" for s in run.sources for line in s.remarks]
    for s, config in zip(run.sources, run.recipe.data.sources, strict=True):
        if config.hub is not None and s.ended is not None and s.ended < batch:
            found.append(f"{s.name}: the stream has {s.ended} rows, less than one batch of {batch}: {_REPEATED}")
    return found
