"""A tiny deterministic encoder: hashed words and letter triples. Weak, but a real one: it goes the real path."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np


class HashingEncoder:
    """Counts of hashed words, and of letter triples with weight `triples`. Remembers what it was asked."""

    similarity = "cosine"
    longest: int | None = None

    def __init__(self, dim: int = 256, triples: float = 0.3, spoil: str = "") -> None:
        self.dim, self.triples, self.spoil = dim, triples, spoil
        self.calls: list[tuple[str, int | None, list[str]]] = []

    def encode(
        self,
        texts: Sequence[str],
        *,
        role: str = "query",
        max_length: int | None = None,
        batch_tokens: int = 8192,
        progress: bool = False,
    ) -> np.ndarray:
        self.calls.append((role, max_length, list(texts)))
        rows = np.zeros((len(texts), self.dim), dtype=np.float32)
        for row, text in zip(rows, texts, strict=True):
            for word in text.lower().split()[:max_length]:
                row[zlib.crc32(word.strip(".,;?!").encode()) % self.dim] += 1
                for i in range(len(word) - 2):
                    row[zlib.crc32(word[i : i + 3].encode()) % self.dim] += self.triples
            if self.spoil and self.spoil in text:
                row[0] = np.nan
        return rows

    def fingerprint(self) -> str:
        return f"hashing-{self.dim}-{self.triples}"
