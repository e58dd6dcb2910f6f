"""Alignment and uniformity as loops."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from embedkit.types import Embeddings
from tests.objectives import options as o
from tests.objectives.naive.base import ZERO, Rows, example_weight, ids


def views(e: Embeddings, i: int) -> list[Tensor]:
    return [x / x.norm() for x in (e.query[i], *e.positive[i])]


def texts(e: Embeddings, i: int) -> set[int]:
    return ids(e.query_id[i], e.positive_id[i])


def known(e: Embeddings, i: int, j: int) -> bool:
    """Whether row i knows that a text of row j matches."""
    return bool((texts(e, i) | ids(e.known_id[i])) & texts(e, j))


def potential(x: list[Tensor], t: float, e: Embeddings) -> Tensor:
    n = len(x)
    pairs = [(i, j) for i in range(n) for j in range(i + 1, n) if not known(e, i, j) and not known(e, j, i)]
    return torch.stack([torch.exp(-t * ((x[i] - x[j]) ** 2).sum()) for i, j in pairs]).mean().log()


def align_uniform(c: o.AlignUniform, e: Embeddings) -> Tensor:
    x = [views(e, i) for i in range(len(e))]
    total = ZERO
    if c.align_weight:
        total = total + c.align_weight * torch.stack([(v[0] - p).norm() ** c.alpha for v in x for p in v[1:]]).mean()
    sides = {"both": range(len(x[0])), "query": [0], "document": range(1, len(x[0]))}[c.of]
    if c.uniform_weight:
        total = total + c.uniform_weight * sum(potential([v[k] for v in x], c.t, e) for k in sides) / len(sides)
    return total


def decoupled_uniformity(c: o.DecoupledUniformity, e: Embeddings) -> Tensor:
    centres = torch.stack([torch.stack(views(e, i)).mean(0) for i in range(len(e))])
    if c.kernel != "none":
        assert e.guide is not None
        g = e.guide.query
        kernel = torch.zeros(len(e), len(e), dtype=g.dtype)
        for i in range(len(e)):
            for j in range(len(e)):
                cosine = g[i] @ g[j] / g[i].norm() / g[j].norm()
                rbf = torch.exp(-((g[i] - g[j]) ** 2).sum() / (2 * c.sigma**2))
                kernel[i, j] = rbf if c.kernel == "rbf" else cosine
        ridge = 1 / math.sqrt(len(e)) if c.ridge is None else c.ridge
        centres = torch.linalg.inv(kernel + ridge * torch.eye(len(e), dtype=g.dtype)) @ kernel @ centres
    return potential(list(centres), c.t, e)


def kcl(c: o.KCL, e: Embeddings) -> Rows:
    x = [views(e, i) for i in range(len(e))]

    def k(a: Tensor, b: Tensor) -> Tensor:
        return torch.exp(-c.t * ((a - b) ** 2).sum())

    values = []
    for i, v in enumerate(x):
        value = -2 * torch.stack([k(v[0], p) for p in v[1:]]).mean()
        others = [j for j in range(len(e)) if j != i and not known(e, i, j)]
        for side in range(len(v)):
            value = value + c.gamma * torch.stack([k(v[side], x[j][side]) for j in others]).mean()
        values.append(value)
    return torch.stack(values), torch.stack([example_weight(e, i) for i in range(len(e))])
