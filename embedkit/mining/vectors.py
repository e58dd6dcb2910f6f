"""Embeddings of many sentences, centred, and their nearest neighbours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from embedkit.vectors.view import View

PART = 16_384
"""Sentences encoded, added to an index or read at once: embeddings depend, in their last bits, on what they were
encoded with."""
PROBES = 32
"""Lists of an inverted file that a query looks into."""
_TRAIN_PER_LIST = 64
_FLOATS = 2**22
"""Numbers of candidates' embeddings held at once: 16 MiB."""


class Vectors:
    """[n, d] float32 embeddings, given out with the corpus mean taken off and unit length.

    Args:
        view: the embeddings as the encoder gave them.
        center: subtract their mean.
    """

    def __init__(self, view: View, *, center: bool) -> None:
        self._view, self.dim = view, view.dim
        total = np.zeros(self.dim)
        for part in view.blocks(PART) if center else ():
            total += part.sum(axis=0, dtype=np.float64)
        self._mean = (total / len(view)).astype(np.float32)

    def __len__(self) -> int:
        return len(self._view)

    def rows(self, which: np.ndarray) -> np.ndarray:
        """[m, d] float32 unit vectors of the sentences `which` [m]."""
        chosen = self._view.take(which)
        chosen -= self._mean
        return chosen / np.maximum(np.linalg.norm(chosen, axis=-1, keepdims=True), 1e-12)

    def cosine(self, anchors: np.ndarray, candidates: np.ndarray) -> np.ndarray:
        """[a, k] cosine of every anchor [a] with its candidates [a, k]."""
        out = np.empty(candidates.shape, np.float32)
        step = max(1, _FLOATS // (max(1, candidates.shape[1]) * self.dim))
        for start in range(0, len(anchors), step):
            part = slice(start, start + step)
            right = self.rows(candidates[part].ravel()).reshape(*candidates[part].shape, self.dim)
            out[part] = np.einsum("ad,akd->ak", self.rows(anchors[part]), right)
        return out


class Neighbours:
    """Nearest neighbours by inner product: exact up to `exact_below` vectors, above that an inverted file.

    The inverted file has about ``4 sqrt(n)`` lists, looks into `PROBES` of them and keeps vectors in half precision.

    Args:
        rows: ``rows(start, stop)`` gives [stop - start, dim] float32.
        n: how many there are.
        dim: their size.
        exact_below: largest n that is searched exactly.
    """

    def __init__(self, rows: Callable[[int, int], np.ndarray], n: int, dim: int, exact_below: int) -> None:
        import faiss

        self._rows, self.n, self.exact = rows, n, n <= exact_below
        self._index = faiss.IndexFlatIP(dim) if self.exact else self._inverted_file(faiss, dim)
        for start in range(0, n, PART):
            self._index.add(np.ascontiguousarray(rows(start, min(n, start + PART))))

    def _inverted_file(self, faiss: Any, dim: int) -> Any:
        lists = int(4 * np.sqrt(self.n))
        index = faiss.IndexIVFScalarQuantizer(
            faiss.IndexFlatIP(dim), dim, lists, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
        )
        index.cp.seed, index.cp.niter = 1, 10
        index.nprobe = min(PROBES, lists)
        wanted = min(self.n, _TRAIN_PER_LIST * lists)
        parts = np.linspace(0, max(0, self.n - PART), -(-wanted // PART)).astype(int)
        sample = np.concatenate([self._rows(start, min(self.n, start + PART)) for start in parts])
        index.train(np.ascontiguousarray(sample))
        return index

    def of(self, start: int, stop: int, k: int) -> np.ndarray:
        """[stop - start, k + 1] nearest of vectors start..stop, themselves (usually first) included; -1: no more."""
        found = self._index.search(np.ascontiguousarray(self._rows(start, stop)), min(k + 1, self.n))[1]
        return np.asarray(found)
