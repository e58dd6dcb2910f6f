"""What two embeddings are compared by: the cosine, or what a model says of itself. Larger is more similar."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from embedkit.evaluation import lexical
from embedkit.evaluation.metrics import paired_cosine
from embedkit.evaluation.noise import all_equal, steady
from embedkit.types import Encodes
from embedkit.vectors.view import not_finite, unit

Scores = Callable[[Any, Any], np.ndarray]
"""[q, d] and [u, d] -> [q, u]. Rows are arrays, or of a sparse encoder `scipy.sparse.csr_array`; the scores are
dense."""

_NAMES = {"cos": "cosine"}


def chosen(asked: Literal["cos", "dot"] | None, encoder: Encodes) -> str:
    """The similarity of a task: what it asks for, else the model's own."""
    return str(getattr(encoder, "similarity", "cosine")) if asked is None else _NAMES.get(asked, asked)


def prepared(name: str, rows: Any) -> Any:
    """Rows [n, d] as `paired` and `between` take them: of length 1 for the cosine, else as they are."""
    if name != "cosine":
        return rows
    return unit(rows) if isinstance(rows, np.ndarray) else lexical.unit(rows)


def rows_with_nan(rows: Any) -> np.ndarray:
    """Indices of the rows [n, d] that hold what is not finite."""
    if isinstance(rows, np.ndarray):
        return not_finite(rows)
    return lexical.rows_with_nan(rows)


def one_vector(rows: Any) -> bool:
    """Whether all rows [n, d] (n > 1) have one direction, up to the noise of float32."""
    return all_equal(unit(rows)) if isinstance(rows, np.ndarray) else lexical.all_equal(lexical.unit(rows))


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
        return lambda queries, texts: (
            queries @ texts.T if isinstance(texts, np.ndarray) else lexical.products(queries, texts)
        )

    def minus_distance(queries: np.ndarray, texts: np.ndarray) -> np.ndarray:
        from scipy.spatial.distance import cdist

        found: np.ndarray = cdist(queries, texts, {"euclidean": "euclidean", "manhattan": "cityblock"}[name])
        return -found.astype(np.float32)

    return minus_distance


def _length(rows: np.ndarray) -> float:
    return float(np.sqrt((rows**2).sum(axis=1).max()))
