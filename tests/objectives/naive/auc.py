"""The Mann-Whitney loss as a loop over pairs."""

from __future__ import annotations

import torch

from embedkit.types import Embeddings
from tests.objectives import options as o
from tests.objectives.naive.base import Rows, example_weight, others, similarity


def mann_whitney(c: o.MannWhitney, e: Embeddings) -> Rows:
    negative = torch.stack(
        [
            similarity(e.query[j], x, c.similarity) / c.temperature
            for j in range(len(e))
            for x, _, known in others(e, j)
            if not known
        ]
    )
    values, weights = [], []
    for i in range(len(e)):
        own = [similarity(e.query[i], p, c.similarity) / c.temperature for p in e.positive[i]]
        sums = [torch.log(1 + torch.exp(negative - p)).sum() for p in own]
        values.append(torch.stack(sums).mean() / (len(negative) if c.reduction == "mean" else 1))
        weights.append(example_weight(e, i))
    return torch.stack(values), torch.stack(weights)
