"""What another embedding model thinks of pairs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from embedkit.mining.problem import Problem
from embedkit.vectors.encoding import vectors_of
from embedkit.vectors.space import Embedder
from embedkit.vectors.store import VectorStore
from embedkit.vectors.view import View, unit

if TYPE_CHECKING:
    from embedkit.model.running.encoder import Encoder

_FLOATS = 2**24
"""Numbers of vectors held at once: 64 MiB."""


class GuideScores:
    """Cosine of query and document by a guide. Only what is asked for is encoded, and nothing twice.

    Args:
        problem: queries and documents.
        query: encodes queries, or their vectors in the order of the problem.
        document: the same for documents.
        store: keeps vectors.
        progress: show bars.
    """

    def __init__(
        self,
        problem: Problem,
        query: Embedder | View,
        document: Embedder | View,
        store: VectorStore,
        *,
        progress: bool = False,
    ) -> None:
        self._problem, self._query, self._document = problem, query, document
        self._store, self._progress = store, progress

    @classmethod
    def of_encoder(
        cls, problem: Problem, encoder: Encoder, store: VectorStore, *, batch_tokens: int = 8192, progress: bool = False
    ) -> GuideScores:
        """By a model with its prompts, each text in its tower."""
        query, document = (
            Embedder.of(encoder.tower(tower), role=role, normalize=True, batch_tokens=batch_tokens)
            for tower, role in ((0, "query"), (1, "document"))
        )
        return cls(problem, query, document, store, progress=progress)

    def of(self, queries: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """See `Scores`.

        Raises:
            DataError: given vectors do not fit.
        """
        left, which = self._vectors(self._problem.queries, queries, self._query, "queries of the guide")
        right, at = self._vectors(self._problem.documents, rows, self._document, "documents of the guide")
        out = np.empty(len(rows))
        step = max(1, _FLOATS // (2 * left.dim))
        for start in range(0, len(rows), step):
            part = slice(start, start + step)
            out[part] = np.einsum("nd,nd->n", unit(left.take(which[part])), unit(right.take(at[part])))
        return out

    def _vectors(
        self, texts: Sequence[str], wanted: np.ndarray, by: Embedder | View, what: str
    ) -> tuple[View, np.ndarray]:
        """The vectors of some texts, and which of them each wanted one is."""
        if isinstance(by, View):
            return vectors_of(texts, by, self._store), wanted
        needed, place = np.unique(wanted, return_inverse=True)
        some = [texts[i] for i in needed.tolist()]
        return vectors_of(some, by, self._store, progress=self._progress, unit=what), place.reshape(-1)
