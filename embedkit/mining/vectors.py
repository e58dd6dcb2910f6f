"""Embeddings of many sentences, centred, and their nearest neighbours."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from embedkit.vectors.index.approximate import Approximate
from embedkit.vectors.index.pool import faiss_after_torch
from embedkit.vectors.view import View, unit

PART = 16_384
"""Sentences encoded, added to an index or read at once: embeddings depend, in their last bits, on what they were
encoded with."""
PROBES = 32
"""Lists of an inverted file that a query looks into."""
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
        return unit(chosen)

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

    Of the inverted file's lists (see `Approximate`) `PROBES` are looked into.

    Args:
        rows: ``rows(start, stop)`` gives [stop - start, dim] float32.
        n: how many there are.
        dim: their size.
        exact_below: largest n that is searched exactly.
    """

    def __init__(self, rows: Callable[[int, int], np.ndarray], n: int, dim: int, exact_below: int) -> None:
        self._rows, self.n, self.exact = rows, n, n <= exact_below
        if self.exact:
            self._index: Any = faiss_after_torch().IndexFlatIP(dim)
            for start in range(0, n, PART):
                self._index.add(np.ascontiguousarray(rows(start, min(n, start + PART))))
        else:
            self._index = Approximate(_Computed(rows, n, dim), "ivf", seed=1, ram_gb=math.inf).index
            self._index.nprobe = PROBES

    def of(self, start: int, stop: int, k: int) -> np.ndarray:
        """[stop - start, k + 1] nearest of vectors start..stop, themselves (usually first) included; -1: no more."""
        found = self._index.search(np.ascontiguousarray(self._rows(start, stop)), min(k + 1, self.n))[1]
        return np.asarray(found)


class _Computed(View):
    """Rows that are made when they are asked for, a run of them at a time."""

    def __init__(self, rows: Callable[[int, int], np.ndarray], n: int, dim: int) -> None:
        self._computed, self._size, self.dim = rows, n, dim

    def __len__(self) -> int:
        return self._size

    def _rows(self, at: np.ndarray) -> np.ndarray:
        first = int(at.min(initial=self._size))
        return self._computed(first, int(at.max(initial=first)) + 1)[at - first]
