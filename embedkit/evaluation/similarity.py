"""What two embeddings are compared by: the cosine, or what a model says of itself. Larger is more similar."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

from embedkit.evaluation.metrics import paired_cosine
from embedkit.evaluation.noise import steady
from embedkit.types import Encodes
from embedkit.vectors.view import unit

Scores = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""[q, d] and [u, d] -> [q, u]."""

_NAMES = {"cos": "cosine"}


def chosen(asked: Literal["cos", "dot"] | None, encoder: Encodes) -> str:
    """The similarity of a task: what it asks for, else the model's own."""
    return str(getattr(encoder, "similarity", "cosine")) if asked is None else _NAMES.get(asked, asked)


def prepared(name: str, rows: np.ndarray) -> np.ndarray:
    """Rows [n, d] as `paired` and `between` take them: of length 1 for the cosine, else as they are."""
    return unit(rows) if name == "cosine" else rows


def paired(name: str, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Similarity of row i of `first` with row i of `second`, [n] float64: cosine, inner product, or minus a distance.

    Args:
        name: ``cosine``, ``dot``, ``euclidean`` or ``manhattan``, as sentence-transformers calls them.
        first, second: from `prepared`.
    """
    if name == "cosine":
        return paired_cosine(first, second)
    a, b = first.astype(np.float64), second.astype(np.float64)
    if name == "dot":
        return steady((a * b).sum(axis=1), size=float(np.sqrt((a**2).sum(axis=1).max() * (b**2).sum(axis=1).max())))
    apart = np.abs(a - b)
    distance = np.sqrt((apart**2).sum(axis=1)) if name == "euclidean" else apart.sum(axis=1)
    return -steady(distance, size=float(np.abs(a).sum(axis=1).max()) if name == "manhattan" else _length(a))


def between(name: str) -> Scores:
    """The similarities of all pairs of two sets of rows from `prepared`."""
    if name in ("cosine", "dot"):
        return lambda queries, texts: queries @ texts.T

    def minus_distance(queries: np.ndarray, texts: np.ndarray) -> np.ndarray:
        from scipy.spatial.distance import cdist

        found: np.ndarray = cdist(queries, texts, {"euclidean": "euclidean", "manhattan": "cityblock"}[name])
        return -found.astype(np.float32)

    return minus_distance


def _length(rows: np.ndarray) -> float:
    return float(np.sqrt((rows**2).sum(axis=1).max()))
