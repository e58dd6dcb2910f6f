"""Clusters of a source's rows by k-means on their embeddings, found once per run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from embedkit.data.cache import cache_folder
from embedkit.data.sources import LoadedSource
from embedkit.disk import files
from embedkit.errors import DataError
from embedkit.recipe.clusters import Clusters
from embedkit.vectors.encoding import vectors_of
from embedkit.vectors.index.pool import faiss_after_torch
from embedkit.vectors.shards import write_array
from embedkit.vectors.space import Embedder, Model
from embedkit.vectors.store import VectorStore
from embedkit.vectors.view import View

CLUSTERS, RECORD = "clusters.npy", "clusters.json"
POINTS = 256
"""Vectors per cluster that k-means learns from at most; all rows are assigned."""
_PART = 65_536


def kmeans_clusters(
    source: LoadedSource,
    options: Clusters,
    models: Sequence[tuple[str, Callable[[], Model]]],
    *,
    folder: Path,
    seed: int,
    cache: Path | None = None,
    progress: bool = False,
) -> np.ndarray:
    """The cluster of every row: k-means on unit vectors with unit centres.

    With several models it is the tuple of the clusters by each, as a number: two rows have the same where all agree.
    What is found is kept in `folder`, so that a resumed run, and every process of a run, reads the same.

    Args:
        source: a loaded source, no stream.
        options: the recipe's block, with `kmeans`.
        models: names, for the record, and what loads the models that embed; called only when `folder` does not have
            the clusters.
        folder: of the run.
        seed: of k-means.
        cache: where vectors are kept; default ``$XDG_CACHE_HOME/embedkit/clusters``.
        progress: show bars.

    Returns:
        [rows] int64.

    Raises:
        DataError: a stream, or fewer different texts than clusters.
    """
    if source.rows is None:
        raise DataError("a stream has no clusters", source.name, "remove streaming, or clusters")
    names = [name for name, _ in models]
    written = names if len(names) > 1 else names[0]
    asked = _key([source.digest, source.rows, options.model_dump(mode="json"), written, seed])
    record = folder / RECORD
    held = files.json_in(record)
    if isinstance(held, dict) and held.get("asked") == asked:
        with suppress(*files.DAMAGED_ARRAYS):  # made again
            return np.asarray(np.load(folder / CLUSTERS), dtype=np.int64)
    texts = _texts(source, options.of)
    assert options.kmeans is not None, "the recipe names a column instead"
    different = len(set(texts))
    if different < options.kmeans:
        what = f"{different} different texts cannot make {options.kmeans} clusters"
        raise DataError(what, source.name, f"set clusters.kmeans to {max(2, different)} or less")
    role = "query" if options.of == "query" else "document"
    store, parts, fingerprints = VectorStore(cache or cache_folder("clusters")), [], []
    for _, load in models:
        embedder = Embedder.of(load(), role=role, normalize=True)
        view = vectors_of(texts, embedder, store, progress=progress)
        parts.append(_kmeans(view, options.kmeans, options.iterations, seed))
        fingerprints.append(embedder.space.model)
    found = parts[0] if len(parts) == 1 else _joint(parts)
    with files.new_file(folder / CLUSTERS) as file:
        write_array(file, found)
    said = {"asked": asked, "models": names, "fingerprints": fingerprints}
    files.write_json(record, said)  # last: it is whole
    return found


def _joint(parts: Sequence[np.ndarray]) -> np.ndarray:
    """[n] one number per tuple: that of row i stands for ``(parts[0][i], parts[1][i], ...)``."""
    _, number = np.unique(np.stack(parts, axis=1), axis=0, return_inverse=True)
    return number.reshape(-1).astype(np.int64)


def _texts(source: LoadedSource, of: str) -> list[str]:
    assert source.rows is not None
    parts = (source.get(range(i, min(source.rows, i + _PART))) for i in range(0, source.rows, _PART))
    rows = [example for part in parts for example in part]
    if of == "positive" and not all(example.positives for example in rows):
        raise DataError("k-means shall embed positives, and there are none", source.name, "set clusters.of: query")
    return [example.positives[0] if of == "positive" else example.query for example in rows]


def _kmeans(view: View, k: int, iterations: int, seed: int) -> np.ndarray:
    n = len(view)
    chosen = np.sort(np.random.default_rng(seed).permutation(n)[: k * POINTS])
    options = {"niter": iterations, "seed": seed % 2**31, "spherical": True, "min_points_per_centroid": 1}
    trained = faiss_after_torch().Kmeans(view.dim, k, **options)
    trained.train(np.ascontiguousarray(view.take(chosen)))
    found = np.empty(n, np.int64)
    for start in range(0, n, _PART):
        stop = min(n, start + _PART)
        found[start:stop] = trained.index.search(np.ascontiguousarray(view[start:stop]), 1)[1][:, 0]
    return found


def _key(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode("utf-8")).hexdigest()[:24]
