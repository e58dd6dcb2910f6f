"""Vectors that an evaluation keeps for the next one of the same model, within a bound of disk.

Only what is evaluated as it stands is kept. A model in training has new weights at every evaluation, whose vectors
nobody would ask for again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from embedkit.data.cache import cache_folder
from embedkit.errors import DataError, WriteError
from embedkit.evaluation.lexical import is_sparse
from embedkit.foreign import showing
from embedkit.vectors.concatenated import Concatenated
from embedkit.vectors.encoding import WINDOW, encode_into
from embedkit.vectors.space import Model, Space
from embedkit.vectors.store import VectorStore

logger = showing.logger(__name__)

LIMIT = 4 * 2**30
"""Bytes kept on disk; the models evaluated longest ago go first. What alone takes more is not kept."""


class Kept:
    """Encodes what the store does not have, for one model as it is now.

    Args:
        model: the encoder; once trained further it needs another of these.
        store: where vectors are kept; None: ``$XDG_CACHE_HOME/embedkit/evaluation``.

    Attributes:
        reused: texts so far that were not encoded again.
    """

    def __init__(self, model: Model, store: VectorStore | None = None) -> None:
        self._model, self._fingerprint = model, model.fingerprint()
        self._store: VectorStore | None = store or VectorStore(cache_folder("evaluation"))
        self._store.trim(LIMIT)
        self.reused = 0

    def missing(self, texts: Sequence[str], role: str, max_length: int | None) -> list[str]:
        """The different texts that have to be encoded."""
        if self._store is None or self._large(texts):
            return list(dict.fromkeys(texts))
        shelf = self._store.of(self._space(role, max_length))
        return [texts[i] for i in shelf.missing(texts).tolist()]

    def encode(
        self, texts: Sequence[str], *, role: str, max_length: int | None, batch_tokens: int, progress: bool
    ) -> np.ndarray:
        """[n, d] float32, row i of text i. Where nothing can be kept there is a warning, and all are encoded."""
        encoded = 0

        def encode(some: Sequence[str], progress: bool = False) -> np.ndarray:
            nonlocal encoded
            encoded += len(some)
            return self._model.encode(
                some, role=role, max_length=max_length, batch_tokens=batch_tokens, progress=progress
            )

        if self._store is not None and not self._large(texts):
            try:
                shelf = self._store.of(self._space(role, max_length))
                found = encode_into(shelf, texts, encode, call=WINDOW, progress=progress)[:]
                self.reused += len(texts) - encoded
                return found
            except (WriteError, DataError) as error:
                logger.warning("vectors are not kept for the next evaluation: %s", error)
                self._store = None
        return encode(texts, progress)

    def _space(self, role: str, max_length: int | None) -> Space:
        return Space(self._fingerprint, self._model.dim, self._model.prompt(role), max_length)

    def _large(self, texts: Sequence[str]) -> bool:
        return 4 * self._model.dim * len(texts) > LIMIT


class KeptOfEach:
    """As `Kept`, of concatenated encoders: each has its own vectors, which it alone and other shares use, too.

    Args:
        model: the encoders.
        store: as for `Kept`.
    """

    def __init__(self, model: Concatenated, store: VectorStore | None = None) -> None:
        self._model, self._parts = model, [Kept(encoder, store) for encoder in model.encoders]

    @property
    def reused(self) -> int:
        """Texts so far that no encoder encoded again, at most."""
        return min(part.reused for part in self._parts)

    def missing(self, texts: Sequence[str], role: str, max_length: int | None) -> list[str]:
        """The different texts that some encoder has to encode."""
        lacking = {text for part in self._parts for text in part.missing(texts, role, max_length)}
        return [text for text in dict.fromkeys(texts) if text in lacking]

    def encode(
        self, texts: Sequence[str], *, role: str, max_length: int | None, batch_tokens: int, progress: bool
    ) -> np.ndarray:
        """[n, d_1 + ... + d_k] float32, row i of text i."""
        options: dict[str, Any] = {"role": role, "max_length": max_length}
        options |= {"batch_tokens": batch_tokens, "progress": progress}
        return self._model.together([part.encode(texts, **options) for part in self._parts])


Keeps = Kept | KeptOfEach


def kept_of(model: Model) -> Keeps | None:
    """Where the vectors of an encoder, or of each of the concatenated ones, are kept; None: sparse ones are not."""
    if is_sparse(model):
        return None
    return KeptOfEach(model) if isinstance(model, Concatenated) else Kept(model)
