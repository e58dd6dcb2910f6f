"""Metric learning on labels as loops."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from embedkit.types import Embeddings
from tests.objectives import options as o
from tests.objectives.naive.base import ZERO, Rows, example_weight
from tests.objectives.naive.uniformity import known, views


def anchors(e: Embeddings, i: int) -> list[tuple[list[Tensor], list[Tensor]]]:
    """(cosines of the alike, cosines of the unlike) of every view of row i."""
    found = []
    x = [views(e, j) for j in range(len(e))]
    for k, a in enumerate(x[i]):
        alike, unlike = [], []
        for j in range(len(e)):
            same = i == j or bool(e.label[i] == e.label[j]) or known(e, i, j)
            for v, b in enumerate(x[j]):
                if (i, k) != (j, v):
                    (alike if same else unlike).append(a @ b)
        found.append((alike, unlike))
    return found


def _rows(e: Embeddings, terms: Any) -> Rows:
    """Losses and weights from ``terms(alike, unlike)``, the losses of an anchor and how many anchors or terms count."""
    values, weights = [], []
    for i in range(len(e)):
        found = [terms(alike, unlike) for alike, unlike in anchors(e, i)]
        losses = [loss for some, _ in found for loss in some]
        values.append(torch.stack(losses).mean() if losses else ZERO)
        weights.append(example_weight(e, i) * sum(count for _, count in found))
    return torch.stack(values), torch.stack(weights)


def _exponents(c: Any, alike: list[Tensor], unlike: list[Tensor]) -> tuple[Tensor, Tensor]:
    m, g = c.margin, c.scale
    pull = [torch.exp(-g * max(0.0, 1 + m - float(s.detach())) * (s - (1 - m))) for s in alike]
    push = [torch.exp(g * max(0.0, float(s.detach()) + m) * (s - m)) for s in unlike]
    return torch.stack(pull).sum(), torch.stack(push).sum()


def circle(c: o.Circle, e: Embeddings) -> Rows:
    per_row = 1 + e.positive.shape[1]

    def terms(alike: list[Tensor], unlike: list[Tensor]) -> tuple[list[Tensor], float]:
        if not alike or not unlike:
            return [], 0.0
        pull, push = _exponents(c, alike, unlike)
        return [torch.log(1 + pull * push)], 1 / per_row

    return _rows(e, terms)


def circle_batch(c: o.CircleBatch, e: Embeddings) -> Tensor:
    total = [_exponents(c, alike, unlike) for i in range(len(e)) for alike, unlike in anchors(e, i)]
    pull, push = (torch.stack(side).sum() / 2 for side in zip(*total, strict=True))
    return torch.log(1 + pull * push)


def multi_similarity(c: o.MultiSimilarity, e: Embeddings) -> Rows:
    def terms(alike: list[Tensor], unlike: list[Tensor]) -> tuple[list[Tensor], float]:
        if c.mine is not None:
            least, most = min(alike, default=torch.inf), max(unlike, default=-torch.inf)
            alike = [s for s in alike if s - c.mine < most]
            unlike = [s for s in unlike if s + c.mine > least]
            if not alike or not unlike:
                return [ZERO], 0.0
        pull = sum((torch.exp(-c.alpha * (s - c.base)) for s in alike), ZERO)
        push = sum((torch.exp(c.beta * (s - c.base)) for s in unlike), ZERO)
        return [torch.log(1 + pull) / c.alpha + torch.log(1 + push) / c.beta], 0.0

    values, _ = _rows(e, terms)
    return values, torch.stack([example_weight(e, i) for i in range(len(e))])


def _distance(s: Tensor) -> Tensor:
    return torch.sqrt(2 - 2 * s)


def label_contrastive(c: o.LabelContrastive, e: Embeddings) -> Tensor:
    """The whole loss."""
    pairs = [pair for i in range(len(e)) for pair in anchors(e, i)]
    pull = [_distance(s) - c.positive_margin for alike, _ in pairs for s in alike]
    push = [c.negative_margin - _distance(s) for _, unlike in pairs for s in unlike]
    return sum((torch.stack([x for x in side if x > 0] or [ZERO]).mean() for side in (pull, push)), ZERO)


def label_triplet(c: o.LabelTriplet, e: Embeddings) -> Rows:
    def terms(alike: list[Tensor], unlike: list[Tensor]) -> tuple[list[Tensor], float]:
        near, far = [_distance(s) for s in alike], [_distance(s) for s in unlike]
        if c.triplets == "hardest":
            near, far = ([max(near)], [min(far)]) if near and far else ([], [])
        losses = []
        for p in near:
            for n in far:
                ahead = float(n.detach() - p.detach())
                taken = {"semi_hard": 0 < ahead <= c.margin, "hard": ahead <= 0}.get(c.triplets, True)
                loss = p - n + c.margin
                loss = torch.log(1 + torch.exp(loss)) if c.smooth else loss
                if taken and loss > 0:
                    losses.append(loss)
        return losses, len(losses)

    return _rows(e, terms)
