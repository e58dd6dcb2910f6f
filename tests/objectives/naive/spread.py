"""The spread-out term as a loop."""

from __future__ import annotations

import torch
from torch import Tensor

from embedkit.types import Embeddings
from tests.objectives import options as o
from tests.objectives.naive.base import ZERO, Rows, example_weight, similarity


def spread_out(c: o.SpreadOut, e: Embeddings) -> Rows:
    values, weights = [], []
    for i in range(len(e)):
        value, seen = ZERO, 0
        for side, texts, ids in (
            ("query", e.query[:, None], e.query_id[:, None]),
            ("document", e.positive, e.positive_id),
        ):
            if c.of in ("both", side):
                found = _squares(texts, ids, i, c.similarity)
                value = value + (torch.stack(found).mean() if found else 0.0)
                seen += len(found)
        values.append(value)
        weights.append(example_weight(e, i) * (seen > 0))
    return torch.stack(values), torch.stack(weights)


def _squares(texts: Tensor, ids: Tensor, i: int, kind: str) -> list[Tensor]:
    return [
        similarity(texts[i, a], texts[j, b], kind) ** 2
        for a in range(texts.shape[1])
        for j in range(len(texts))
        for b in range(texts.shape[1])
        if j != i and ids[i, a] != ids[j, b]
    ]
