"""The loss that holds similarities as they were, as loops."""

from __future__ import annotations

import torch
from torch import Tensor

from embedkit.types import Embeddings
from tests.objectives import options as o
from tests.objectives.naive.base import ZERO, Rows, example_weight, similarity


def keep_start(c: o.KeepStart, e: Embeddings) -> Rows:
    start = e.target
    assert start is not None
    pairs: list[tuple[Tensor, Tensor, int]] = []
    for j in range(len(e)):
        pairs += [(e.positive[j, k], start.positive[j, k], -1) for k in range(e.positive.shape[1])]
        pairs += [
            (e.negative[j, k], start.negative[j, k], -1) for k in range(e.negative.shape[1]) if e.negative_mask[j, k]
        ]
    if not pairs:
        pairs = [(e.query[j], start.query[j], j) for j in range(len(e))]
    values, weights = [], []
    for i in range(len(e)):
        kept = [(now, then) for now, then, j in pairs if j != i]
        scale = c.temperature * c.softening
        logits = [similarity(e.query[i], now, "cos") / scale for now, _ in kept]
        wanted = [(similarity(start.query[i], then, "cos") / scale).detach() for _, then in kept]
        total, mass = sum((x.exp() for x in logits), ZERO), sum((x.exp() for x in wanted), ZERO)
        loss = sum((-(w.exp() / mass) * (x - total.log()) for x, w in zip(logits, wanted, strict=True)), ZERO)
        values.append(c.softening**2 * loss)
        weights.append(example_weight(e, i))
    return torch.stack(values), torch.stack(weights)
