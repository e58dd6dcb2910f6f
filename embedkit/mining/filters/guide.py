"""What another embedding model thinks of pairs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from embedkit.mining.problem import Problem
from embedkit.spread.pool import Pool
from embedkit.vectors.encoding import vectors_of
from embedkit.vectors.remaking import remade
from embedkit.vectors.space import Embedder
from embedkit.vectors.store import VectorStore
from embedkit.vectors.view import View, unit

if TYPE_CHECKING:
    from embedkit.model.running.encoder import Encoder
    from embedkit.recipe.schema import Model

_FLOATS = 2**24
"""Numbers of vectors held at once: 64 MiB."""


class GuideScores:
    """Cosine of query and document by a guide. Only what is asked for is encoded, and nothing twice.

    Args:
        problem: queries and documents.
        query: encodes queries, or their vectors in the order of the problem.
        document: the same for documents.
        store: keeps vectors.
        pool: encodes in the place of this process.
        progress: show bars.
    """

    def __init__(
        self,
        problem: Problem,
        query: Embedder | View,
        document: Embedder | View,
        store: VectorStore,
        *,
        pool: Pool | None = None,
        progress: bool = False,
    ) -> None:
        self._pool = pool
        self._problem, self._query, self._document = problem, query, document
        self._store, self._progress = store, progress

    @classmethod
    def of_encoder(
        cls,
        problem: Problem,
        encoder: Encoder,
        store: VectorStore,
        *,
        batch_tokens: int = 8192,
        pool: Pool | None = None,
        model: Model | None = None,
        device: str = "auto",
        progress: bool = False,
    ) -> GuideScores:
        """By a model with its prompts, each text in its tower; `model` and `device` say how a pool loads it."""
        sides: list[Embedder] = []
        for tower, role in enumerate(("query", "document")):
            settings: dict[str, Any] = {"role": role, "normalize": True, "batch_tokens": batch_tokens}
            one = Embedder.of(encoder.tower(tower), **settings)
            sides.append(one if model is None else remade(one, model, device=device, tower=tower, **settings))
        return cls(problem, sides[0], sides[1], store, pool=pool, progress=progress)

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

    def of_texts(self, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        """[n] float64 for n (query, document) texts, which need not be those of the problem: what a teacher gives."""
        queries, documents = ([pair[side] for pair in pairs] for side in (0, 1))
        problem = Problem(queries, queries, documents, documents, [()] * len(pairs))
        every = np.arange(len(pairs))
        how: dict[str, Any] = {"pool": self._pool, "progress": self._progress}
        return GuideScores(problem, self._query, self._document, self._store, **how).of(every, every)

    def _vectors(
        self, texts: Sequence[str], wanted: np.ndarray, by: Embedder | View, what: str
    ) -> tuple[View, np.ndarray]:
        """The vectors of some texts, and which of them each wanted one is."""
        if isinstance(by, View):
            return vectors_of(texts, by, self._store), wanted
        needed, place = np.unique(wanted, return_inverse=True)
        some = [texts[i] for i in needed.tolist()]
        return vectors_of(some, by, self._store, pool=self._pool, progress=self._progress, unit=what), place.reshape(-1)
