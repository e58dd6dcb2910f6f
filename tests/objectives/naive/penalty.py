"""The contrastive learning penalty as a loop."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from embedkit.recipe import weighting as w
from embedkit.types import Embeddings
from tests.objectives import options as o
from tests.objectives.naive.base import ZERO, Rows, similarity
from tests.objectives.naive.contrastive import infonce


def clp(c: o.CLP, e: Embeddings, pieces: tuple[w.WeightingConfig, ...], temperature: float | Tensor) -> Rows:
    texts = list(range(0, e.negative.shape[1], 2))

    def alone(b: Embeddings) -> Embeddings:
        return replace(b, negative=b.negative[:, texts], negative_mask=b.negative_mask[:, texts])

    kept = replace(alone(e), negative_id=e.negative_id[:, texts], guide=None if e.guide is None else alone(e.guide))
    values, weights = infonce(c, kept, pieces, temperature)
    apart = []
    for i in range(len(e)):
        found = [
            1 - similarity(e.negative[i, v], e.negative[i, v + 1], "cos")
            for v in texts
            if e.negative_mask[i, v] and e.negative_mask[i, v + 1]
        ]
        apart.append(torch.stack(found).mean() if found else ZERO)
    return (1 - c.penalty) * values + c.penalty * torch.stack(apart), weights
