"""Orders of an epoch by clusters of rows: every batch of one cluster, or no two rows of a cluster in any batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np


@dataclass(frozen=True)
class ClusterOrder:
    """Lays out the epochs of a source whose rows have clusters.

    Attributes:
        clusters: [n] whole number of each row's cluster.
        batches: ``together``: batches of one cluster; ``apart``: batches without two rows of a cluster.
        rest: with ``together``, whether rows beyond their cluster's full batches share batches (``mix``) or are left
            out of the epoch (``drop``).
    """

    clusters: np.ndarray
    batches: Literal["together", "apart"]
    rest: Literal["mix", "drop"] = "mix"

    def full(self, size: int) -> int:
        """Batches of `size` rows in an epoch.

        Apart, it is the largest b with ``sum over clusters of min(rows, b) >= b * size``: more batches cannot be made
        without two rows of one cluster in some.
        """
        sizes = np.unique(self.clusters, return_counts=True)[1]
        if self.batches == "together":
            return int((sizes // size).sum()) if self.rest == "drop" else len(self.clusters) // size
        low, high = 0, len(self.clusters) // size
        while low < high:
            b = (low + high + 1) // 2
            low, high = (b, high) if np.minimum(sizes, b).sum() >= b * size else (low, b - 1)
        return low

    def epoch(self, size: int, generator: np.random.Generator) -> np.ndarray:
        """[full(size) * size] different rows; every `size` of them are a batch.

        Args:
            size: rows of a batch.
            generator: of this epoch.
        """
        return self._together(size, generator) if self.batches == "together" else self._apart(size, generator)

    def _together(self, size: int, generator: np.random.Generator) -> np.ndarray:
        rows, place, count = self._grouped(generator)
        whole = place < count // size * size
        batches = rows[whole].reshape(-1, size)
        if self.rest == "mix":
            left = rows[~whole]
            batches = np.concatenate([batches, left[: len(left) // size * size].reshape(-1, size)])
        return batches[generator.permutation(len(batches))].ravel()

    def _apart(self, size: int, generator: np.random.Generator) -> np.ndarray:
        """Rows cluster by cluster are dealt out to the batches in turn: as no cluster has more rows than there are
        batches, none comes round to a batch twice, and all batches fill alike."""
        count = self.full(size)
        rows, place, _ = self._grouped(generator)
        kept = np.flatnonzero(place < count)
        kept = np.sort(generator.permutation(kept)[: count * size])
        dealt = rows[kept].reshape(size, count).T
        dealt = generator.permuted(dealt, axis=1)
        return dealt[generator.permutation(count)].ravel()

    def _grouped(self, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """[n] rows cluster by cluster, clusters and rows within them in random order; [n] each one's place in its
        cluster; [n] the rows of its cluster."""
        code = np.unique(self.clusters, return_inverse=True)[1]
        rank = generator.permutation(int(code.max(initial=-1)) + 1)[code]
        rows = np.lexsort((generator.permutation(len(code)), rank))
        _, first, sizes = np.unique(rank[rows], return_index=True, return_counts=True)
        return rows, np.arange(len(rows)) - np.repeat(first, sizes), np.repeat(sizes, sizes)
