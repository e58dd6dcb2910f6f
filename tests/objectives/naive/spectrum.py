"""The rank term as a loop."""

from __future__ import annotations

import torch
from torch import Tensor

from embedkit.types import Embeddings
from tests.objectives import options as o
from tests.objectives.naive.base import example_weight


def rank(c: o.Rank, e: Embeddings) -> Tensor:
    """From singular values instead of eigenvalues."""
    rows, weights = [], []
    for i in range(len(e)):
        own = [e.query[i]]
        if c.of == "all":
            own += [*e.positive[i], *e.negative[i][e.negative_mask[i]]]
        rows += [x / x.norm() for x in own]
        weights += [example_weight(e, i)] * len(own)
    share = torch.stack(weights) / torch.stack(weights).sum()
    p = torch.linalg.svdvals(torch.stack(rows) * share.sqrt()[:, None]) ** 2
    h = -(p * p.log()).sum()
    return h if c.quantity == "entropy" else h.exp()
