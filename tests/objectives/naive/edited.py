"""The losses on edited negatives as loops."""

from __future__ import annotations

from math import log

import torch
from torch import Tensor

from embedkit.types import Embeddings
from tests.objectives import options as o
from tests.objectives.naive.base import ZERO, Rows, example_weight, ids, others, similarity
from tests.objectives.naive.candidates import listed


def focal_smoothed(c: o.FocalSmoothed, e: Embeddings) -> Rows:
    values, weights = [], []
    for i in range(len(e)):
        scores, _ = listed(c, e, i)
        n, absent = len(scores), int((~e.negative_mask[i]).sum())
        total = sum((s.exp() for s in scores), ZERO) + (absent if c.absent == "zero" else 0)
        value = ZERO
        for k, s in enumerate(scores):
            p = s.exp() / total
            target = c.smoothing / n + (1 - c.smoothing if k == 0 else 0)
            value = value - target * (1 - p) ** c.gamma * p.log()
        values.append(value)
        weights.append(example_weight(e, i) * (n > 1))
    return torch.stack(values), torch.stack(weights)


def hard_negative_nce(c: o.HardNegativeNCE, e: Embeddings) -> Rows:
    values, weights = [], []
    for i in range(len(e)):
        asked = [(n, d) for n, d in enumerate(others(e, i))]
        documents = [vector for n, (vector, _, known) in asked if not known and _meets(e, i, n)]
        first = [similarity(e.query[i], d, "cos") / c.temperature for d in documents]
        value, counts = ZERO, False
        p = e.positive.shape[1]
        for k in range(p):
            own = similarity(e.query[i], e.positive[i, k], "cos") / c.temperature
            queries = [e.query[j] for j in range(len(e)) if j != i and not _answered(e, i, j)]
            second = [similarity(q, e.positive[i, k], "cos") / c.temperature for q in queries]
            for weight, negatives in ((c.query_weight, first), (c.document_weight, second)):
                if negatives:
                    value = value + weight / p * _loss(c, own, torch.stack(negatives))
                    counts = counts or weight > 0
        values.append(value)
        weights.append(example_weight(e, i) * counts)
    return torch.stack(values), torch.stack(weights)


def _loss(c: o.HardNegativeNCE, own: Tensor, negatives: Tensor) -> Tensor:
    n, hard = len(negatives), (c.beta * negatives).exp()
    loss = (1 + (n * hard / hard.sum() * negatives.exp()).sum() / own.exp()).log()
    return loss / log(1 + n) if c.normalize else loss


def _meets(e: Embeddings, i: int, place: int) -> bool:
    """Whether the document at a place of `others` is a positive of another row, or an own negative."""
    kinds = []
    for j in range(len(e)):
        kinds += [True] * (e.positive.shape[1] if j != i else 0) + [j == i] * int(e.negative_mask[j].sum())
    return kinds[place]


def _answered(e: Embeddings, i: int, j: int) -> bool:
    """Whether query j is known to match the positives of row i."""
    match = ids(e.query_id[j], e.positive_id[j], e.known_id[j])
    return int(e.query_id[j]) == int(e.query_id[i]) or bool(match & ids(e.positive_id[i]))
