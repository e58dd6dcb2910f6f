"""Contrast by sorting as a loop: every exchange by itself."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from embedkit.types import Embeddings
from tests.objectives import options as o
from tests.objectives.naive.base import ZERO, Rows, example_weight
from tests.objectives.naive.uniformity import known, views


def _loss(negatives: list[Tensor], positives: list[Tensor], longest: int, steepness: float) -> Tensor:
    """`longest` is the length of the list of an anchor that lacks no negative: the layers are those of that list."""
    gap = longest - len(negatives) - len(positives)
    x = [None] * gap + negatives + positives
    n, top = len(x), len(positives)
    shares = [[torch.ones((), dtype=torch.float64) if r == c else ZERO for c in range(n)] for r in range(n)]
    for layer in range(n):
        for c in range(layer % 2, n - 1, 2):
            if x[c] is None:
                continue
            keep = torch.atan(steepness * (x[c + 1] - x[c])) / math.pi + 0.5
            x[c], x[c + 1] = keep * x[c] + (1 - keep) * x[c + 1], (1 - keep) * x[c] + keep * x[c + 1]
            for row in shares:
                row[c], row[c + 1] = keep * row[c] + (1 - keep) * row[c + 1], (1 - keep) * row[c] + keep * row[c + 1]
    ends = [torch.stack(row[n - top :]).sum() for row in shares]
    terms = [-torch.log(p) if r >= n - top else -torch.log(1 - p) for r, p in enumerate(ends) if r >= gap]
    return torch.stack(terms).mean()


def groco(c: o.GroCo, e: Embeddings) -> Rows:
    x = [views(e, i) for i in range(len(e))]
    values, weights = [], []
    for i, v in enumerate(x):
        others = [j for j in range(len(e)) if j != i and not known(e, i, j)]
        losses = []
        for k, anchor in enumerate(v):

            def cosine(y: Tensor, anchor: Tensor = anchor) -> Tensor:
                return anchor @ (y.detach() if c.detach_others else y)

            hard = sorted((cosine(x[j][k]) for j in others), key=lambda s: float(s.detach()))[-c.top_k :]
            own = sorted((cosine(y) for m, y in enumerate(v) if m != k), key=lambda s: float(s.detach()))
            longest = min(c.top_k, len(e)) + len(own)
            losses.append(_loss(hard, own, longest, c.steepness))
        values.append(torch.stack(losses).mean())
        weights.append(example_weight(e, i) * bool(others))
    return torch.stack(values), torch.stack(weights)
