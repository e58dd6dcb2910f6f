"""Corpora on which searches agree with numpy, or not."""

from __future__ import annotations

import numpy as np

from embedkit.vectors.index.found import Found
from embedkit.vectors.view import ArrayView


def clustered(n: int, dim: int = 24, *, seed: int = 0, centres: int = 40) -> np.ndarray:
    """[n, dim] unit vectors around common centres: neighbours that an inverted file can find."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(centres, dim))[rng.integers(0, centres, n)] + 0.6 * rng.normal(size=(n, dim))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def by_numpy(corpus: np.ndarray, queries: np.ndarray, k: int) -> Found:
    """Sorted in full, in float64."""
    scores = queries.astype(np.float64) @ corpus.astype(np.float64).T
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return Found(order, np.take_along_axis(scores, order, 1).astype(np.float32))


def view(corpus: np.ndarray) -> ArrayView:
    return ArrayView(corpus)
