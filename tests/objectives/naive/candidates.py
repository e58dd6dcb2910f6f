"""The ranking losses over a row's own candidates, as loops."""

from __future__ import annotations

from itertools import product
from math import log2

import torch
from torch import Tensor

from embedkit.types import Embeddings
from tests.objectives import options as o
from tests.objectives.naive.base import ZERO, Rows, example_weight, similarity


def listed(c: o.CandidateConfig, e: Embeddings, i: int) -> tuple[list[Tensor], list[float]]:
    """Scores over the temperature and grades of the candidates that row i has."""
    kept = [v for v in range(e.negative.shape[1]) if e.negative_mask[i, v]]
    texts = [e.positive[i, 0], *(e.negative[i, v] for v in kept)]
    scores = [similarity(e.query[i], x, c.similarity) / c.temperature for x in texts]
    if e.score is None:
        return scores, [1.0] + [0.0] * len(kept)
    return scores, [float(e.score[i, 0]), *(float(e.score[i, 1 + v]) for v in kept)]


def bce(c: o.BCE, e: Embeddings) -> Rows:
    values, weights = [], []
    for i in range(len(e)):
        total = ZERO
        scores, grades = listed(c, e, i)
        for s, y in zip(scores, grades, strict=True):
            p = (s - c.bias / c.temperature).sigmoid()
            total = total - c.positive_weight * y * p.log() - (1 - y) * (1 - p).log()
        values.append(total / (len(scores) if c.reduction == "mean" else 1))
        weights.append(example_weight(e, i))
    return torch.stack(values), torch.stack(weights)


def lce(c: o.LCE, e: Embeddings) -> Rows:
    values, weights = [], []
    for i in range(len(e)):
        scores, _ = listed(c, e, i)
        values.append(-(scores[0].exp() / sum(s.exp() for s in scores)).log())
        weights.append(example_weight(e, i) * (len(scores) > 1))
    return torch.stack(values), torch.stack(weights)


def listnet(c: o.ListNet, e: Embeddings) -> Rows:
    values, weights = [], []
    for i in range(len(e)):
        scores, grades = listed(c, e, i)
        wanted = torch.tensor(grades, dtype=torch.float64).div(c.target_temperature).exp()
        wanted = wanted / wanted.sum()
        total = sum(s.exp() for s in scores)
        values.append(-sum((p * (s.exp() / total).log() for p, s in zip(wanted, scores, strict=True)), ZERO))
        weights.append(example_weight(e, i) * (len(scores) > 1))
    return torch.stack(values), torch.stack(weights)


def _pairs(c: o.RankNet, e: Embeddings, i: int) -> list[tuple[Tensor, Tensor, float, float, int, int]]:
    """Scores, grades and places (from 1) of a and b for every pair that counts."""
    scores, grades = listed(c, e, i)
    order = sorted(range(len(scores)), key=lambda j: -scores[j].item())
    found = []
    for a, b in product(range(len(order)), repeat=2):
        y_a, y_b = grades[order[a]], grades[order[b]]
        if y_a > y_b and (c.top is None or min(a, b) < c.top):
            found.append((scores[order[a]], scores[order[b]], y_a, y_b, a + 1, b + 1))
    return found


def ranknet(c: o.RankNet, e: Embeddings) -> Rows:
    values, weights = [], []
    for i in range(len(e)):
        losses = [(1 + (s_b - s_a).exp()).log() for s_a, s_b, *_ in _pairs(c, e, i)]
        values.append(sum(losses, ZERO) / max(1, len(losses)))
        weights.append(example_weight(e, i) * len(losses))
    return torch.stack(values), torch.stack(weights)


def lambda_loss(c: o.LambdaLoss, e: Embeddings) -> Rows:
    values, weights = [], []
    for i in range(len(e)):
        ideal = sorted(listed(c, e, i)[1], reverse=True)[: c.top]
        best = sum((2**y - 1) / log2(1 + place) for place, y in enumerate(ideal, 1))
        losses = []
        for s_a, s_b, y_a, y_b, a, b in _pairs(c, e, i):
            gain = abs(2**y_a - 2**y_b) / best
            lambdarank = abs(1 / log2(1 + a) - 1 / log2(1 + b)) * gain
            d = abs(a - b)
            ndcg2 = abs(1 / log2(1 + d) - 1 / log2(2 + d)) * gain
            weight = {"lambdarank": lambdarank, "ndcg2": ndcg2, "ndcg2++": lambdarank + c.mu * ndcg2}[c.weights]
            losses.append(weight * (1 + (s_b - s_a).exp()).log())
        values.append(sum(losses, ZERO) / max(1, len(losses)))
        weights.append(example_weight(e, i) * len(losses))
    return torch.stack(values), torch.stack(weights)


def margin_ranking(c: o.MarginRanking, e: Embeddings) -> Tensor:
    by_distance: dict[int, list[Tensor]] = {}
    over: list[Tensor] = []
    for i in range(len(e)):
        scores, grades = listed(c, e, i)
        reference = scores[0]
        if c.reference == "above":
            scores, grades = scores[1:], grades[1:]
            over += [(s - reference + c.reference_margin).clamp_min(0) for s in scores]
        order = sorted(range(len(scores)), key=lambda j: -grades[j])
        for a, b in product(range(len(order)), repeat=2):
            if a < b and grades[order[a]] > grades[order[b]]:
                violation = scores[order[b]] - scores[order[a]] + (b - a) * c.margin
                by_distance.setdefault(b - a, []).append(violation.clamp_min(0))
    total = sum((sum(found, ZERO) / len(found) for found in by_distance.values()), ZERO)
    return total + (c.reference_weight * sum(over, ZERO) / len(over) if over else 0)


def score_mse(c: o.ScoreMSE, e: Embeddings) -> Rows:
    values, weights = [], []
    for i in range(len(e)):
        scores, teacher = listed(c, e, i)
        values.append(sum(((s - t) ** 2 for s, t in zip(scores, teacher, strict=True)), ZERO) / len(scores))
        weights.append(example_weight(e, i))
    return torch.stack(values), torch.stack(weights)
