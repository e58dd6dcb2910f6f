"""A late-interaction model (ColBERT), measured as a reranker: sentence-transformers' MultiVectorEncoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from embedkit.model.reading.fingerprint import fingerprint
from embedkit.model.reading.loading import load_multi_vector
from embedkit.model.reading.resolve import resolve
from embedkit.model.running.encoder import pick_device
from embedkit.model.running.scores import check_finite
from embedkit.terminal import progress as terminal

if TYPE_CHECKING:
    from sentence_transformers import MultiVectorEncoder

DOCUMENTS = 512
"""Documents whose token vectors are held at once."""
BATCH = 32


class LateInteraction:
    """Compares every token of a query with every token of a document: MaxSim, ``sum_i max_j q_i . d_j`` (ColBERT, arXiv
    2004.12832), or what else the model says.

    It scores pairs, as a reranker (`embedkit.model.running.reranker.Reranker`) does, and is measured like one. embedkit
    does not train it.

    Args:
        st: the model.
    """

    def __init__(self, st: MultiVectorEncoder) -> None:
        self.st = st

    @classmethod
    def load(cls, name: str, *, device: str = "auto") -> LateInteraction:
        """Read a folder, or a model of the Hub.

        Raises:
            RecipeError: it is not found, damaged, lacks weights, or is no late-interaction model.
        """
        return cls(load_multi_vector(resolve(name), pick_device(device)))

    def score(
        self, texts: Sequence[tuple[str, str]], *, batch_tokens: int = 8192, progress: bool = False
    ) -> np.ndarray:
        """Scores of pairs of query and document; higher is more relevant.

        Every query and every document is encoded once. The token vectors of all queries are held, and those of
        `DOCUMENTS` documents at a time.

        Args:
            texts: the pairs.
            batch_tokens: of the interface; the model's own batches are of `BATCH` texts.
            progress: show a bar.

        Returns:
            float32 [n].

        Raises:
            DataError: a score is no number.
        """
        out = np.empty(len(texts), np.float32)
        queries = _encoded(self.st.encode_query, [query for query, _ in texts])
        by_document: dict[str, list[int]] = {}
        for i, (_, document) in enumerate(texts):
            by_document.setdefault(document, []).append(i)
        documents = sorted(by_document, key=len, reverse=True)
        with terminal.progress("scoring", len(texts), "pairs", show=progress) as bar, torch.inference_mode():
            for start in range(0, len(documents), DOCUMENTS):
                some = _encoded(self.st.encode_document, documents[start : start + DOCUMENTS])
                pairs = [(i, vectors) for document, vectors in some.items() for i in by_document[document]]
                asked = [queries[texts[i][0]] for i, _ in pairs]
                found: Tensor = self.st.similarity_pairwise(asked, [vectors for _, vectors in pairs])
                out[[i for i, _ in pairs]] = found.float().cpu().numpy()
                bar.advance(len(pairs))
        return check_finite(out, texts, "the late-interaction model")

    def fingerprint(self) -> str:
        """Content hash of weights and settings."""
        return fingerprint(self.st)


def _encoded(encode: Any, texts: Sequence[str]) -> dict[str, Tensor]:
    """Text -> [tokens, d], each different text once."""
    distinct = list(dict.fromkeys(texts))
    return dict(zip(distinct, encode(distinct, batch_size=BATCH, show_progress_bar=False), strict=True))
