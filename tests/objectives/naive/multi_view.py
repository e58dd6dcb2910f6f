"""Contrast among several views as loops."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from embedkit.types import Embeddings
from tests.objectives import options as o
from tests.objectives.naive.base import Rows, example_weight
from tests.objectives.naive.uniformity import known, views


def _each(c: Any, e: Embeddings, loss: Any) -> Rows:
    """The losses of all rows from ``loss(s, i, others, views)``, s the exponential of the logit of two views."""
    x = [views(e, i) for i in range(len(e))]

    def s(k: int, i: int, other: int, j: int) -> Tensor:
        return torch.exp((x[i][k] * x[j][other]).sum() / c.temperature)

    values, weights = [], []
    for i in range(len(e)):
        others = [j for j in range(len(e)) if j != i and not known(e, i, j)]
        values.append(loss(s, i, others, range(len(x[i]))))
        weights.append(example_weight(e, i) * bool(others))
    return torch.stack(values), torch.stack(weights)


def mv_infonce(c: o.MVInfoNCE, e: Embeddings) -> Rows:
    def loss(s: Any, i: int, others: list[int], span: range) -> Tensor:
        below, above = [], []
        for k in span:
            for other in span:
                above += [s(k, i, other, i)] if k != other else []
                below += [s(k, i, other, j) for j in others if k != other or c.denominator == "all"]
        return torch.stack([*below, *above]).sum().log() - torch.stack(above).sum().log()

    return _each(c, e, loss)


def mv_dhel(c: o.MVDHEL, e: Embeddings) -> Rows:
    def loss(s: Any, i: int, others: list[int], span: range) -> Tensor:
        energy = torch.stack([torch.stack([s(k, i, k, j) for j in others]).sum().log() for k in span]).sum()
        return energy - torch.stack([s(k, i, other, i) for k in span for other in span if k < other]).sum().log()

    return _each(c, e, loss)


def poly_view(c: o.PolyView, e: Embeddings) -> Rows:
    def loss(s: Any, i: int, others: list[int], span: range) -> Tensor:
        terms = []
        for k in span:
            rest = torch.stack([s(k, i, v, j) for v in span for j in others]).sum()
            terms += [torch.log(1 + rest / s(k, i, other, i)) for other in span if other != k]
        return torch.stack(terms).mean()

    return _each(c, e, loss)
