"""VICReg, Barlow Twins and W-MSE as loops."""

from __future__ import annotations

import torch
from torch import Tensor

from embedkit.types import Embeddings
from tests.objectives import options as o
from tests.objectives.naive.base import ZERO, similarity


def _mean(x: Tensor) -> Tensor:
    return torch.stack([x[:, p].sum() / len(x) for p in range(x.shape[1])])


def _covariance(x: Tensor) -> Tensor:
    mean, n, d = _mean(x), len(x), x.shape[1]
    return torch.stack(
        [torch.stack([((x[:, p] - mean[p]) * (x[:, q] - mean[q])).sum() / (n - 1) for q in range(d)]) for p in range(d)]
    )


def vicreg(c: o.VICReg, e: Embeddings) -> Tensor:
    a, b = e.query, e.positive[:, 0]
    n, d = a.shape
    paper = c.scaling == "paper"
    distance = sum(((a[i] - b[i]) ** 2).sum() for i in range(n)) / n / (1 if paper else d)
    spread = shared = ZERO
    for x in (a, b):
        cov = _covariance(x)
        for p in range(d):
            spread = spread + torch.clamp(1 - (cov[p, p] + c.eps).sqrt(), min=0) / d / (1 if paper else 2)
            shared = shared + sum(cov[p, q] ** 2 for q in range(d) if q != p) / d
    return c.invariance * distance + c.variance * spread + c.covariance * shared


def barlow_twins(c: o.BarlowTwins, e: Embeddings) -> Tensor:
    n, d = e.query.shape
    sides = []
    for x in (e.query, e.positive[:, 0]):
        mean = _mean(x)
        variance = torch.stack([((x[:, p] - mean[p]) ** 2).sum() / n for p in range(d)])
        sides.append((x - mean) / (variance + c.eps).sqrt())
    loss = ZERO
    for p in range(d):
        for q in range(d):
            correlation = (sides[0][:, p] * sides[1][:, q]).sum() / n
            loss = loss + ((correlation - 1) ** 2 if p == q else c.off_diagonal * correlation**2)
    return loss


def w_mse(c: o.WMSE, e: Embeddings) -> Tensor:
    """For one group, the batch: nothing is drawn."""
    assert c.size in (None, len(e)) and c.iterations == 1
    sides = []
    for x in (e.query, e.positive[:, 0]):
        d = x.shape[1]
        cov = (1 - c.eps) * _covariance(x) + c.eps * torch.eye(d, dtype=x.dtype)
        factor = [[ZERO] * d for _ in range(d)]
        for p in range(d):
            for q in range(p + 1):
                rest = cov[p, q] - sum((factor[p][k] * factor[q][k] for k in range(q)), ZERO)
                factor[p][q] = rest.sqrt() if p == q else rest / factor[q][q]
        lower = torch.stack([torch.stack(row) for row in factor])
        sides.append([torch.linalg.solve(lower, row - _mean(x)) for row in x])
    return sum((2 - 2 * similarity(u, v, "cos") for u, v in zip(*sides, strict=True)), ZERO) / len(e)
