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
        known = [np.asarray(self._known[query], np.int64) for query in candidates.query.tolist()]
        allowed = np.ones(ids.shape, bool)
        for place in range(max(map(len, known), default=0)):
            having = [i for i, own in enumerate(known) if len(own) > place]
            allowed[having] &= ids[having] != np.array([known[i][place] for i in having])[:, None]
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
        ids = self._ids[np.maximum(candidates.rows, 0)]
        order = np.lexsort((~candidates.keep, ids), axis=-1)  # a copy below one that another filter removed may stay
        ids = np.take_along_axis(ids, order, 1)
        first = np.ones(ids.shape, bool)
        first[:, 1:] = ids[:, 1:] != ids[:, :-1]
        allowed = np.zeros(ids.shape, bool)
        np.put_along_axis(allowed, order, first, 1)
        return allowed & candidates.keep
