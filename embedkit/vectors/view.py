"""Vectors in the order of a corpus, read from disk as they are asked for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

import numpy as np

BLOCK = 16_384
"""Rows of a block."""


def unit(rows: np.ndarray) -> np.ndarray:
    """Rows [n, d] at length 1, in float32. A zero row stays zero: its cosine with anything is 0."""
    rows = rows.astype(np.float32, copy=False)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.float32(1e-12))


def not_finite(rows: np.ndarray) -> np.ndarray:
    """[m] which rows of [n, d] hold NaN or infinity."""
    with np.errstate(invalid="ignore"):
        sums = rows.sum(axis=1, dtype=np.float64)
    if np.isfinite(sums).all():  # one pass over the numbers, without a mask of their size
        return np.empty(0, np.int64)
    return np.flatnonzero(~np.isfinite(rows).all(axis=1))


class View(ABC):
    """[n, d] float32 rows, row i of text i, that need not fit into memory.

    Attributes:
        dim: d.
    """

    dim: int

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def _rows(self, at: np.ndarray) -> np.ndarray:
        """[m, d] float32 rows at positions [m] int64, all of them inside."""

    def take(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """[m, d] float32: a copy of the rows at `indices` [m], in their order; they may repeat.

        Raises:
            IndexError: one is negative (a search engine's "no document" is no row) or too large.
        """
        at = np.asarray(indices, np.int64)
        wrong = at[(at < 0) | (at >= len(self))]
        if len(wrong):
            raise IndexError(f"row {wrong[0]} of vectors that have rows 0 to {len(self) - 1}")
        return self._rows(at)

    def __getitem__(self, rows: slice) -> np.ndarray:
        return self._rows(np.arange(*rows.indices(len(self)), dtype=np.int64))

    def part(self, rows: range) -> View:
        """Contiguous rows of it as a view of their own, which another process can be given (pickled)."""
        return _Part(self, rows)

    def blocks(self, size: int = BLOCK) -> Iterator[np.ndarray]:
        """All rows in order, `size` at a time."""
        for start in range(0, len(self), size):
            yield self[start : start + size]


class _Part(View):
    def __init__(self, whole: View, rows: range) -> None:
        self.dim, self._whole, self._own = whole.dim, whole, rows

    def __len__(self) -> int:
        return len(self._own)

    def _rows(self, at: np.ndarray) -> np.ndarray:
        return self._whole.take(at + self._own.start)


class ArrayView(View):
    """Rows of an array that is in memory, or mapped.

    Args:
        rows: [n, d] numbers.
    """

    def __init__(self, rows: np.ndarray) -> None:
        self.dim, self._array = rows.shape[1], rows

    def __len__(self) -> int:
        return len(self._array)

    def _rows(self, at: np.ndarray) -> np.ndarray:
        return np.asarray(self._array[at], np.float32)

    def part(self, rows: range) -> View:
        return ArrayView(self._array[rows.start : rows.stop])


class UnitView(View):
    """Rows of another view at length 1.

    Args:
        rows: the other view.
    """

    def __init__(self, rows: View) -> None:
        self.dim, self._view = rows.dim, rows

    def __len__(self) -> int:
        return len(self._view)

    def _rows(self, at: np.ndarray) -> np.ndarray:
        return unit(self._view.take(at))

    def part(self, rows: range) -> View:
        return UnitView(self._view.part(rows))
