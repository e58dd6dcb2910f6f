"""Symile as a loop over combinations."""

from __future__ import annotations

from itertools import product

import numpy as np
import torch
from torch import Tensor

from embedkit.types import Embeddings
from tests.objectives import options as o
from tests.objectives.naive.base import Rows, example_weight
from tests.objectives.naive.uniformity import known, views


def symile(c: o.Symile, e: Embeddings, scale: float | Tensor | None = None) -> Rows:
    x = [views(e, i) for i in range(len(e))]
    n, fields = len(e), len(x[0])
    rng = np.random.default_rng([0x53594D31, e.step])
    orders = [[rng.permutation(n) for _ in range(fields - 1)] for _ in range(fields)]

    def logit(i: int, k: int, others: tuple[int, ...]) -> Tensor:
        found = x[i][k]
        for m, j in zip([m for m in range(fields) if m != k], others, strict=True):
            found = found * x[j][m]
        return (c.scale if scale is None else scale) * found.sum()

    values, weights = [], []
    for i in range(n):
        alike = {j for j in range(n) if j == i or (c.mask_duplicates and known(e, i, j))}
        losses = []
        for k in range(fields):
            if c.negatives == "all":
                combinations = list(product(range(n), repeat=fields - 1))
            else:
                combinations = [tuple(int(order[j]) for order in orders[k]) for j in range(n) if j != i]
            keeps = not c.mask_duplicates and c.negatives == "shuffled"
            others = [some for some in combinations if keeps or not set(some) <= alike]
            own = logit(i, k, (i,) * (fields - 1))
            total = torch.stack([own, *(logit(i, k, some) for some in others)]).exp().sum().log()
            losses.append(total - own)
        values.append(torch.stack(losses).mean())
        weights.append(example_weight(e, i) * (len(alike) < n))
    return torch.stack(values), torch.stack(weights)
