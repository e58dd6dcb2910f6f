"""A frozen encoder that is asked about every batch (DCLR's complementary model, GISTEmbed's guide)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from embedkit.data.text import text_id
from embedkit.model.running.encoder import Encoder
from embedkit.types import RowBatch

CACHE_BYTES = 512 * 2**20
"""Embeddings kept at most; beyond it the cache starts anew."""


class Guide:
    """Embeddings of a batch's texts by a frozen encoder, dropout off, cached by text.

    Without dropout all views of a text have one embedding, so that a text is encoded once per run and not once per
    view and epoch.

    Args:
        encoder: the guide; it is put into evaluation mode.
    """

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder
        self._cache: dict[tuple[str, int], np.ndarray] = {}  # by prompt and text

    def forget(self) -> None:
        """Empty the cache: an embedding depends, in its last bits, on the texts that it was computed with."""
        self._cache.clear()

    def __call__(self, batch: RowBatch) -> Tensor:
        """[n * S, g] embeddings, zeros where an example has no text."""
        if len(self._cache) * self.encoder.dim * 4 > CACHE_BYTES:
            self._cache.clear()
        places, rows = (found.numpy() for found in batch.filled())
        roles = ["query" if place % batch.slots == 0 else "document" for place in places]
        texts = [batch.texts[row] for row in rows]
        keys = [(self.encoder.prompt(role), text_id(text)) for role, text in zip(roles, texts, strict=True)]
        for role in ("query", "document"):
            missing = {
                key: text
                for key, text, own in zip(keys, texts, roles, strict=True)
                if own == role and key not in self._cache
            }
            if missing:
                found = self.encoder.encode(list(missing.values()), role=role)
                self._cache.update(zip(missing, found, strict=True))
        block = np.zeros((batch.n * batch.slots, self.encoder.dim), dtype=np.float32)
        block[places] = np.stack([self._cache[k] for k in keys])
        return torch.from_numpy(block)
