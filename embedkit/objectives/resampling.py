"""A memory in clusters, whose texts near a row are more positives of it."""

from __future__ import annotations

import torch
from torch import Tensor

from embedkit.objectives.companions import Companion
from embedkit.objectives.logits import products, unit
from embedkit.objectives.sbcl import spherical_kmeans
from embedkit.objectives.swav import sinkhorn

EPSILON, ITERATIONS = 0.05, 10
"""Of the balanced assignment."""


def guided_positives(
    rows: Tensor, memory: Tensor, prototypes: Tensor, cluster: Tensor, k: int, allowed: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The k texts of the memory nearest to each row by cosine, inside the cluster of its nearest prototype.

    Where a cluster holds at most k texts, the k nearest of the whole memory (DyCE of BECLR, ICLR 2024).

    Args:
        rows: [n, d].
        memory: [M, d], M > k.
        prototypes: [C, d].
        cluster: [M] of the memory's texts, 0 to C - 1.
        k: how many.
        allowed: [n, M] bool, texts that may be taken at all; all where None.

    Returns:
        [n, k] places in the memory, the nearest first, and -1 where no more are allowed; [n] whether the whole memory
        was searched.
    """
    own = products(unit(rows), unit(prototypes)).argmax(1)
    if allowed is None:
        allowed = torch.ones(len(rows), len(memory), dtype=torch.bool, device=rows.device)
    inside = (own[:, None] == cluster) & allowed
    fell_back = inside.sum(1) <= k
    near = products(unit(rows), unit(memory)).masked_fill(~torch.where(fell_back[:, None], allowed, inside), -torch.inf)
    best, place = near.sort(dim=1, descending=True, stable=True)
    return place[:, :k].masked_fill(best[:, :k].isneginf(), -1), fell_back


class ClusteredMemory(Companion):
    """The newest texts, in clusters of about equal size once it is full.

    Args:
        size: texts kept.
        clusters: how many.

    Attributes:
        vector: [K, d] unit vectors, oldest first.
        text: [K] ids.
        cluster: [K] their clusters; 0 before there are some.
        prototype: [C, d] mean of each cluster, unit vectors; [0] before there are some.
    """

    vector: Tensor
    text: Tensor
    cluster: Tensor
    prototype: Tensor

    def __init__(self, size: int, clusters: int) -> None:
        super().__init__(("vector", "text", "cluster", "prototype"), ("text", "cluster"))
        self.size, self.clusters = size, clusters

    @property
    def ready(self) -> bool:
        """Whether it is full and has clusters."""
        return len(self.prototype) > 0

    def push(self, vector: Tensor, text: Tensor) -> None:
        """Add unit vectors [n, d] of texts [n], each to a cluster; the clusters' means move with them."""
        found = self._balanced(vector) if self.ready else torch.zeros_like(text)
        self._append(self.size, vector=vector, text=text, cluster=found)
        if self.ready:
            self._centre()

    def arrange(self, seed: int) -> None:
        """Find the clusters anew, by k-means and then an equal share for each; nothing before the memory is full."""
        if len(self) < self.size:
            return
        found = spherical_kmeans(self.vector, self.clusters, torch.Generator().manual_seed(seed))
        self.prototype = self.vector.new_zeros(self.clusters, self.vector.shape[1])
        self.cluster = found
        self._centre()
        self.cluster = self._balanced(self.vector)
        self._centre()

    def _balanced(self, vector: Tensor) -> Tensor:
        return sinkhorn(products(vector, self.prototype.to(vector)), EPSILON, ITERATIONS).argmax(1)

    def _centre(self) -> None:
        """Prototypes as means of their clusters; an empty one stays where it was."""
        member = torch.nn.functional.one_hot(self.cluster, self.clusters).to(self.vector)
        sums = products(member.T, self.vector.T)
        self.prototype = torch.where((member.sum(0) > 0)[:, None], unit(sums), self.prototype.to(sums))
