"""What a search is made over and what it gives; checks that all searches share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from embedkit.errors import DataError
from embedkit.vectors.view import View, not_finite

NONE = -1
"""Row that stands for "no document": a corpus smaller than k."""
AT_ONCE = 16_384
"""Queries that are worth waiting for, since every search reads all rows, or most lists, anew."""


@dataclass(frozen=True)
class Found:
    """The nearest rows of q queries, best first; equal scores in the order of the rows.

    Attributes:
        rows: [q, k] int64; `NONE` where the corpus has no more.
        scores: [q, k] float32 inner products; -inf there.
    """

    rows: np.ndarray
    scores: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    @classmethod
    def of(cls, rows: np.ndarray, scores: np.ndarray) -> Found:
        """Sorted, with one mark for what is not there."""
        rows, scores = np.asarray(rows, np.int64), np.array(scores, np.float32)
        scores[rows < 0] = -np.inf
        order = np.lexsort((rows, -scores), axis=-1)
        return cls(np.take_along_axis(rows, order, -1), np.take_along_axis(scores, order, -1))

    def part(self, queries: slice) -> Found:
        """Of some of the queries."""
        return Found(self.rows[queries], self.scores[queries])

    @classmethod
    def join(cls, parts: Sequence[Found]) -> Found:
        """One below the other."""
        return cls(np.concatenate([p.rows for p in parts]), np.concatenate([p.scores for p in parts]))

    def merge(self, other: Found, k: int) -> Found:
        """The best k of two searches of the same queries over different rows."""
        both = Found.of(np.hstack([self.rows, other.rows]), np.hstack([self.scores, other.scores]))
        return Found(both.rows[:, :k], both.scores[:, :k])


def blocks(rows: View, size: int) -> Iterator[tuple[int, np.ndarray]]:
    """(first row, [at most `size`, d]) over all rows, each checked by `finite`."""
    for start in range(0, len(rows), size):  # no name of its own for a block: two would be held at once
        yield start, finite(rows[start : start + size], "corpus", start)


def finite(vectors: np.ndarray, name: str, first: int = 0) -> np.ndarray:
    """The vectors, if all are numbers.

    Raises:
        DataError: NaN or infinite; names the row.
    """
    bad = not_finite(vectors)
    if len(bad):
        raise DataError(
            f"{len(bad):,} of these vectors hold NaN or infinity; the first is row {first + int(bad[0])}",
            name,
            "encode that text again, or leave it out",
        )
    return vectors


def asked(queries: np.ndarray, rows: View, k: int) -> np.ndarray:
    """The queries [q, d] as float32, if they fit.

    Raises:
        DataError: no row, k below 1, another dimension, NaN.
    """
    if k < 1:
        raise DataError(f"k is {k}", "search", "ask for at least one neighbour")
    if not len(rows):
        raise DataError("the corpus is empty", "corpus", "give it at least one document")
    queries = np.ascontiguousarray(queries, dtype=np.float32)
    if queries.ndim != 2 or queries.shape[1] != rows.dim:
        raise DataError(
            f"queries of shape {queries.shape} against vectors of {rows.dim} dimensions",
            "search",
            "encode both with one model, to one dimension",
        )
    return finite(queries, "queries")
