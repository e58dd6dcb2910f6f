"""The most similar of some texts, for each of others."""

from __future__ import annotations

import numpy as np

from embedkit.evaluation import similarity
from embedkit.evaluation.noise import steady

BLOCK_BYTES = 64 * 2**20


def nearest(queries: np.ndarray, texts: np.ndarray, between: similarity.Scores) -> np.ndarray:
    """The most similar text of each query, [n]; of equally similar ones the first."""
    step = max(1, BLOCK_BYTES // (4 * len(texts)))
    return np.concatenate(
        [steady(between(queries[start : start + step], texts)).argmax(axis=1) for start in range(0, len(queries), step)]
    )
