"""What a task encodes: every distinct text once, with the clock on, and nothing that is not finite."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from embedkit.errors import EmbedkitError
from embedkit.evaluation import lexical, similarity
from embedkit.evaluation.kept import Keeps
from embedkit.evaluation.stored import Stored
from embedkit.types import Encodes


class Side:
    """Encodes distinct texts and keeps the clock; with `stored` the embeddings are as they are read from there.

    Attributes:
        all_equal: some texts got one embedding, all of them.
    """

    def __init__(
        self,
        encoder: Encodes,
        task: str,
        max_length: int | None,
        batch_tokens: int,
        progress: bool,
        kept: Keeps | None = None,
        stored: Stored | None = None,
    ) -> None:
        self.kept, self.stored = kept, stored
        self.encoder, self.task, self.max_length = encoder, task, max_length
        self.batch_tokens, self.progress = batch_tokens, progress
        self.texts, self.reused, self.seconds = 0, 0, 0.0
        self.all_equal = False

    def encode(self, texts: Sequence[str], role: str) -> tuple[Any, np.ndarray]:
        """Embeddings of the distinct texts [u, d], and which of them each text is [n].

        The embeddings are an array, or of a sparse encoder a `scipy.sparse.csr_array`, which is not kept.
        """
        place = {text: i for i, text in enumerate(dict.fromkeys(texts))}
        start = time.perf_counter()
        found = self._vectors(list(place), role)
        self.seconds += time.perf_counter() - start
        self.texts += len(place)
        bad = similarity.rows_with_nan(found)
        if len(bad):
            text = list(place)[bad[0]]
            raise EmbedkitError(
                f"{len(bad)} of {len(place)} embeddings are not finite, first of {text[:80]!r}",
                f"task {self.task}",
                "the weights hold NaN or infinity, or overflow in low precision: check the training run",
            )
        if self.stored is not None:
            found = self.stored.read(found, role)
        self.all_equal |= similarity.one_vector(found)
        return found, np.array([place[text] for text in texts])

    def _vectors(self, texts: list[str], role: str) -> Any:
        if self.kept is None or lexical.is_sparse(self.encoder):
            return lexical.encoding(self.encoder)(
                texts,
                role=role,
                max_length=self.max_length,
                batch_tokens=self.batch_tokens,
                progress=self.progress,
            )
        before = self.kept.reused
        try:
            return self.kept.encode(
                texts,
                role=role,
                max_length=self.max_length,
                batch_tokens=self.batch_tokens,
                progress=self.progress,
            )
        except EmbedkitError as error:
            raise type(error)(error.what, f"task {self.task}", error.cure, error.below) from error
        finally:
            self.reused += self.kept.reused - before

    def details(self) -> dict[str, Any]:
        return {
            "texts": self.texts,
            "seconds": round(self.seconds, 3),
            "texts_per_second": round((self.texts - self.reused) / max(self.seconds, 1e-9), 1),
            "max_length": self.max_length,
            **({"reused": self.reused} if self.reused else {}),
            **({} if self.stored is None else {"stored": self.stored.details()}),
        }
