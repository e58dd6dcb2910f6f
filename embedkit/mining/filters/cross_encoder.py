"""A cross-encoder as what scores pairs of texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from embedkit.mining.filters.pairs import ScorePairs

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

BATCH = 32


def probabilities(model: CrossEncoder, *, batch_size: int = BATCH) -> ScorePairs:
    """Probabilities of relevance by a cross-encoder with one label.

    They are the sigmoid of its logit, whatever activation it was saved with, so that a threshold means the same for
    every model.

    Args:
        model: sentence-transformers' own.
        batch_size: pairs in a forward pass; within a call it sorts them by length.
    """
    import torch

    def score(pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        options = {"batch_size": batch_size, "activation_fn": torch.nn.Sigmoid(), "show_progress_bar": False}
        return np.asarray(model.predict([list(pair) for pair in pairs], convert_to_numpy=True, **options))

    return score
