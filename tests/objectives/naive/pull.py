"""The pull of two views as a loop."""

from __future__ import annotations

import torch

from embedkit.types import Embeddings
from tests.objectives import options as o
from tests.objectives.naive.base import Rows, example_weight, similarity


def cosine_pull(c: o.CosinePull, e: Embeddings) -> Rows:
    p = e.positive.shape[1]
    values = [
        -2 * c.weight * sum(similarity(e.query[i], e.positive[i, j], "cos") for j in range(p)) / p
        for i in range(len(e))
    ]
    return torch.stack(values), torch.stack([example_weight(e, i) for i in range(len(e))])  # type: ignore[arg-type]
