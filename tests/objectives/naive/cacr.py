"""Contrastive attraction and repulsion as loops."""

from __future__ import annotations

from itertools import combinations

import torch
from torch import Tensor

from embedkit.types import Embeddings
from tests.objectives import options as o
from tests.objectives.naive.base import ZERO, Rows, example_weight
from tests.objectives.naive.uniformity import known, views


def cacr(c: o.CACR, e: Embeddings) -> Rows:
    x = [views(e, i) for i in range(len(e))]

    def expected(costs: list[Tensor], sharpness: float) -> Tensor:
        cost = torch.stack(costs)
        w = torch.exp(sharpness * cost) / torch.exp(sharpness * cost).sum()
        return ((w.detach() if c.detach_weights else w) * cost).sum()

    values = []
    for i, v in enumerate(x):
        pull, push = [], []
        for k in v:
            pull.append(expected([((k - y) ** 2).sum() for y in v if y is not k], c.positive_sharpness))
        others = [j for j in range(len(e)) if j != i and not known(e, i, j)]
        for k, m in combinations(range(len(v)), 2):
            costs = [((v[k] - x[j][m]) ** 2).sum() for j in others]
            push.append(-expected(costs, -c.negative_sharpness) if costs else ZERO)
        values.append(c.attraction * torch.stack(pull).mean() + c.repulsion * torch.stack(push).mean())
    return torch.stack(values), torch.stack([example_weight(e, i) for i in range(len(e))])


def cacr_keys(c: o.CACRKeys, e: Embeddings) -> Rows:
    x = [views(e, i) for i in range(len(e))]
    source = e if c.momentum is None else e.target
    assert source is not None
    keys = [[k.detach() for k in views(source, i)] for i in range(len(e))]
    values, weights = [], []
    for i, v in enumerate(x):
        others = [j for j in range(len(e)) if j != i and not known(e, i, j)]
        losses = []
        for key in range(min(c.keys, len(v))):
            queries = [q for k, q in enumerate(v) if k != key]
            far = torch.stack([torch.exp(((q - keys[i][key]) ** 2).sum().detach() / c.temperature) for q in queries])
            for q, w in zip(queries, far / far.sum(), strict=True):
                own, rest = q @ keys[i][key], torch.stack([q @ keys[j][key] for j in others])
                if c.cost == "rbf":
                    total = torch.exp(own / c.temperature) + torch.exp(rest / c.temperature).sum()
                    losses.append(2 * c.temperature * w * (torch.log(total) - own / c.temperature))
                else:
                    u = torch.exp((rest.detach() - 1) / c.temperature)
                    losses.append(w * ((1 - own) - (u / u.sum() * (1 - rest)).sum()))
        values.append(torch.stack(losses).sum() / min(c.keys, len(v)))
        weights.append(example_weight(e, i) * bool(others))
    return torch.stack(values), torch.stack(weights)
