"""MACL as a loop."""

from __future__ import annotations

import torch

from embedkit.types import Embeddings
from tests.objectives import options as o
from tests.objectives.naive.base import Rows, example_weight, negatives, similarity


def macl(c: o.MACL, e: Embeddings) -> Rows:
    pairs = [similarity(q, p, "cos") for q, ps in zip(e.query, e.positive, strict=True) for p in ps]
    t = c.tau0 * (1 + c.alpha * (torch.stack(pairs).mean().detach() - c.a0))
    values, weights = [], []
    for i in range(len(e)):
        rest = torch.stack([(x / t).exp() for x in negatives(e, i)]).sum()
        own = [(similarity(e.query[i], p, "cos") / t).exp() for p in e.positive[i]]
        values.append(torch.stack([-(p / (p + rest)).log() / (rest / (p + rest)).detach() for p in own]).mean())
        weights.append(example_weight(e, i))
    return torch.stack(values), torch.stack(weights)
