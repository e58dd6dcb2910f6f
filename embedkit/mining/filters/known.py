"""Documents that are known to answer the query."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from embedkit.mining.filters.base import Candidates


class KnownPositives:
    """Removes every known positive of a query, and the query itself, by the ids of their texts.

    Args:
        known: per query the text ids (`embedkit.data.text.text_id`) of all its positives and of itself.
        text_ids: [n] the corpus' text ids: a document that stands in the corpus twice is known twice.
    """

    name = "known positives"

    def __init__(self, known: Sequence[Sequence[int] | np.ndarray], text_ids: np.ndarray) -> None:
        self._known, self._ids = known, np.asarray(text_ids, np.int64)

    def allows(self, candidates: Candidates) -> np.ndarray:
        ids = self._ids[np.maximum(candidates.rows, 0)]
        allowed = np.ones(ids.shape, bool)
        for i, query in enumerate(candidates.query.tolist()):
            allowed[i] = ~np.isin(ids[i], np.asarray(self._known[query], np.int64))
        return allowed


class SameText:
    """Removes documents whose text stands higher in the list already, by ids of the normalised texts.

    Args:
        text_ids: [n] ids that agree for texts that count as the same.
    """

    name = "same text"

    def __init__(self, text_ids: np.ndarray) -> None:
        self._ids = np.asarray(text_ids, np.int64)

    def allows(self, candidates: Candidates) -> np.ndarray:
        allowed = np.zeros(candidates.rows.shape, bool)
        for i, (rows, keep) in enumerate(zip(candidates.rows, candidates.keep, strict=True)):
            at = np.flatnonzero(keep)  # a copy below one that another filter removed may stay
            first = np.unique(self._ids[rows[at]], return_index=True)[1]
            allowed[i, at[first]] = True
        return allowed
