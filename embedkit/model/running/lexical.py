"""The sparse encoder of a run: a text as weights of the words of a vocabulary (SPLADE), from the masked-LM head."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.sparse import csr_array, vstack

from embedkit.errors import check_whole
from embedkit.model.reading.loading import load_sparse
from embedkit.model.reading.structure import check_length
from embedkit.model.running import inference
from embedkit.model.running.encoder import Encoder
from embedkit.model.running.module import EncoderModule

if TYPE_CHECKING:
    from embedkit.model.reading.resolve import Origin
    from embedkit.recipe.schema import Model

TOKENS = 1024
"""Tokens per batch when texts are encoded: each has a logit for every word of the vocabulary."""


class LexicalModule(EncoderModule):
    """Token features -> weights [r, V]."""

    def layout(self, input_ids: Sequence[Sequence[int]], extra: dict[str, list[Any]]) -> dict[str, Any]:
        """As `EncoderModule.layout`, with the mask that SpladePooling asks for also where nothing is padded."""
        features = super().layout(input_ids, extra)
        if "attention_mask" not in features:
            features["attention_mask"] = torch.ones_like(features["input_ids"])
        return features


class LexicalEncoder(Encoder):
    """A sentence-transformers SparseEncoder of a masked language model and SpladePooling.

    ``w_v(text) = max over tokens t of log(1 + relu(logit_tv))`` (SPLADE-max, arXiv 2109.10086): V numbers, none below
    0, most of them 0 once `flops` (`embedkit.objectives.flops`) has trained it. To the step they are embeddings. To be
    used, they are stored sparse, by `encode_sparse`; `encode` gives them dense, for a few texts.
    """

    _module = LexicalModule

    @staticmethod
    def _read(config: Model, origin: Origin, device: torch.device) -> Any:
        return load_sparse(origin, device, trust=config.trust_remote_code, attention=config.attention)

    def encode_sparse(
        self,
        texts: Iterable[str],
        *,
        role: str = "query",
        max_length: int | None = None,
        batch_tokens: int = 8192,
        progress: bool = False,
    ) -> csr_array:
        """Weights for use, dropout off; arguments and errors as of `Encoder.encode`.

        Returns:
            float32 [n, V], row i of text i, in memory as many numbers as are not 0.
        """
        check_length(self.st, max_length, "max_length")
        check_whole(batch_tokens, "batch_tokens", 1)
        given = inference.as_texts(texts)
        places: list[np.ndarray] = []
        parts: list[csr_array] = []

        def take(done: inference.Done[csr_array]) -> None:
            for where, rows in done:
                places.append(where)
                parts.append(rows)

        inference.each_batch(
            self.module,
            given,
            lambda vectors: csr_array(vectors.float().cpu().numpy()),
            take,
            prompt=self.prompt(role),
            max_length=max_length,
            batch_tokens=min(batch_tokens, TOKENS),
            progress=progress,
        )
        if not parts:
            return csr_array((0, self.dim), dtype=np.float32)
        return vstack(parts, format="csr")[np.argsort(np.concatenate(places))]

    def use_sparse_token_gradients(self) -> None:
        """Not here: the masked-LM head shares the token table, so that every row of it has a gradient."""
