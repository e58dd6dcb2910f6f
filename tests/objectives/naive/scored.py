"""The objectives on scored pairs and triplets, as loops."""

from __future__ import annotations

import torch
from torch import Tensor

from embedkit.types import Embeddings
from tests.objectives import options as o
from tests.objectives.naive.base import Rows, example_weight, similarity


def ranking(similarities: list[Tensor], score: Tensor, scale: float) -> Tensor:
    total = torch.ones((), dtype=torch.float64)
    for m in range(len(score)):
        for n in range(len(score)):
            if score[m] < score[n]:
                total = total + torch.exp(scale * (similarities[m] - similarities[n]))
    return total.log()


def cosent(c: o.CoSENT, e: Embeddings) -> Tensor:
    pairs = [similarity(e.query[i], e.positive[i, 0], "cos") for i in range(len(e))]
    return ranking(pairs, e.score[:, 0], c.scale)


def angle(c: o.AnglE, e: Embeddings) -> Tensor:
    pairs = []
    for x, y in zip(e.query, e.positive[:, 0], strict=True):
        half = (len(x) + 1) // 2
        x, y = (torch.cat([v, v.new_zeros(2 * half - len(v))]) / v.norm() for v in (x, y))
        total = (x * y).sum()
        for t in range(half):
            total = total + x[t + half] * y[t] - x[t] * y[t + half]
        pairs.append(total.abs())
    return ranking(pairs, e.score[:, 0], c.scale)


def cosine_mse(c: o.CosineMSE, e: Embeddings) -> Rows:
    values = [(similarity(e.query[i], e.positive[i, 0], "cos") - e.score[i, 0]) ** 2 for i in range(len(e))]
    return torch.stack(values), torch.stack([example_weight(e, i) for i in range(len(e))])


def triplet(c: o.Triplet, e: Embeddings) -> Rows:
    def distance(a: Tensor, b: Tensor) -> Tensor:
        return (a - b).norm() if c.distance == "euclidean" else -similarity(a, b, "cos")

    values, weights = [], []
    for i in range(len(e)):
        found = [
            (
                c.positive_weight * distance(e.query[i], p) - c.negative_weight * distance(e.query[i], n) + c.margin
            ).clamp_min(0)
            for p in e.positive[i]
            for n, there in zip(e.negative[i], e.negative_mask[i], strict=True)
            if there
        ]
        values.append(torch.stack(found).mean() if found else torch.zeros((), dtype=torch.float64))
        weights.append(example_weight(e, i) * bool(found))
    return torch.stack(values), torch.stack(weights)


def margin_mse(c: o.MarginMSE, e: Embeddings) -> Rows:
    values, weights = [], []
    for i in range(len(e)):
        errors = []
        for v in range(e.negative.shape[1]):
            if not e.negative_mask[i, v]:
                continue
            raw = e.score.shape[1] == e.negative.shape[1] + 1
            teacher = e.score[i, 0] - e.score[i, 1 + v] if raw else e.score[i, v]
            s_p = similarity(e.query[i], e.positive[i, 0], c.similarity)
            errors.append((s_p - similarity(e.query[i], e.negative[i, v], c.similarity) - teacher) ** 2)
        values.append(torch.stack(errors).mean() if errors else torch.zeros((), dtype=torch.float64))
        weights.append(example_weight(e, i) * bool(errors))
    return torch.stack(values), torch.stack(weights)


def kl(c: o.KLDistillation, e: Embeddings) -> Rows:
    values, weights = [], []
    for i in range(len(e)):
        kept = [v for v in range(e.negative.shape[1]) if e.negative_mask[i, v]]
        candidates = [e.positive[i, 0], *(e.negative[i, v] for v in kept)]
        teacher = torch.stack([e.score[i, 0], *(e.score[i, 1 + v] for v in kept)]) / c.teacher_temperature
        student = torch.stack([similarity(e.query[i], x, c.similarity) for x in candidates]) / c.temperature
        p, q = teacher.exp() / teacher.exp().sum(), student.exp() / student.exp().sum()
        values.append((p * (p / q).log()).sum() * (c.temperature**2 if c.rescale else 1.0))
        weights.append(example_weight(e, i) * bool(kept))
    return torch.stack(values), torch.stack(weights)


def contrastive_tension(c: o.ContrastiveTension, e: Embeddings) -> Rows:
    values, weights = [], []
    for i in range(len(e)):
        p = (e.query[i] * e.positive[i, 0]).sum().sigmoid()
        y = e.score[i, 0]
        values.append(-y * p.log() - (1 - y) * (1 - p).log())
        weights.append(example_weight(e, i))
    return torch.stack(values), torch.stack(weights)
