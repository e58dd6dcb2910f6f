"""The FLOPS term as a loop over coordinates and texts."""

from __future__ import annotations

import torch
from torch import Tensor

from embedkit.types import Embeddings
from tests.objectives import options as o
from tests.objectives.naive.base import example_weight


def flops(c: o.Flops, e: Embeddings) -> Tensor:
    grown = 1.0 if c.warmup == 0 or e.step >= c.warmup else (e.step * e.step) / (c.warmup * c.warmup)
    total = torch.zeros((), dtype=e.query.dtype)
    for side, factor in (("query", c.query), ("document", c.document)):
        texts: list[tuple[Tensor, Tensor]] = []
        for i in range(len(e)):
            documents = [*e.positive[i], *e.negative[i][e.negative_mask[i]]]
            own = [e.query[i]] if side == "query" else documents
            texts += [(x, example_weight(e, i)) for x in own]
        if not factor:
            continue
        whole = sum(w for _, w in texts)
        for j in range(e.query.shape[1]):
            mean = sum(w * x[j].abs() for x, w in texts) / whole
            total = total + factor * grown * mean * mean
    return total
