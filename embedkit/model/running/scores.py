"""Scores of pairs of a query and a document: what every model that gives them is held to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from embedkit.errors import DataError
from embedkit.foreign.quoting import quoted


def check_finite(
    scores: np.ndarray, pairs: Sequence[tuple[str, str]], where: str, *, missing: bool = False
) -> np.ndarray:
    """The scores, all of them numbers.

    Args:
        scores: float [n].
        pairs: n pairs of query and document.
        where: whose scores they are.
        missing: whether NaN stands for a score that is not there.

    Raises:
        DataError: one is NaN or infinite, with how many, and the first pair.
    """
    bad = np.flatnonzero(np.isinf(scores) | (np.isnan(scores) & (not missing)))
    if len(bad):
        query, document = pairs[int(bad[0])]
        what = f"{len(bad)} of {len(pairs)} scores are not finite, first of {quoted(query)} and {quoted(document)}"
        raise DataError(what, where, "the weights hold NaN or infinity, or overflow in low precision")
    return scores
