"""Distillation from a teacher's scores of the own candidates, as loops."""

from __future__ import annotations

import torch
from torch import Tensor

from embedkit.types import Embeddings
from tests.objectives import options as o
from tests.objectives.naive.base import ZERO, Rows, example_weight, ids, similarity


def _own(e: Embeddings, i: int, kind: str) -> tuple[Tensor, Tensor, list[int]]:
    """Teacher scores and similarities of the own candidates that exist, and which negatives these are."""
    kept = [v for v in range(e.negative.shape[1]) if e.negative_mask[i, v]]
    candidates = [e.positive[i, 0], *(e.negative[i, v] for v in kept)]
    teacher = torch.stack([e.score[i, 0], *(e.score[i, 1 + v] for v in kept)])
    return teacher, torch.stack([similarity(e.query[i], x, kind) for x in candidates]), kept


def symmetric_kl(c: o.SymmetricKL, e: Embeddings) -> Rows:
    values, weights = [], []
    for i in range(len(e)):
        teacher, student, kept = _own(e, i, c.similarity)
        t, p = (x.div(c.temperature).exp() / x.div(c.temperature).exp().sum() for x in (teacher, student))
        there = (t * (t.log() - (p + c.epsilon).log())).sum()
        back = (p * (p.log() - (t + c.epsilon).log())).sum()
        values.append((there + back) / 2)
        weights.append(example_weight(e, i) * bool(kept))
    return torch.stack(values), torch.stack(weights)


def partial_rank(c: o.PartialRank, e: Embeddings) -> Rows:
    values, weights = [], []
    for i in range(len(e)):
        teacher, student, _ = _own(e, i, c.similarity)
        easy = torch.stack([ZERO, *(torch.exp(s / c.temperature) for s in _easy(e, i, c.similarity))]).sum()
        scale = (teacher / c.teacher_temperature).softmax(0) if c.weights == "teacher" else torch.ones_like(teacher)
        value, total = ZERO, ZERO
        for a in range(len(teacher)):
            if c.order == "given":
                above, below = range(a), list(range(a + 1, len(teacher)))
            else:
                above = [b for b in range(len(teacher)) if teacher[b] > teacher[a]]
                below = [b for b in range(len(teacher)) if teacher[b] < teacher[a]]
            if len(above) >= (c.top or 99) or not (below or easy > 0):
                continue
            mine = torch.exp(student[a] / c.temperature)
            rest = torch.stack([ZERO, *(torch.exp(student[b] / c.temperature) for b in below)]).sum()
            value = value - scale[a] * torch.log(mine / (mine + rest + easy))
            total = total + scale[a]
        values.append(value / total if total > 0 else value)
        weights.append(example_weight(e, i) * (total > 0))
    return torch.stack(values), torch.stack(weights)


def _easy(e: Embeddings, i: int, kind: str) -> list[Tensor]:
    """Similarities of the documents of other rows whose texts neither match the query nor are own candidates."""
    scored = ids(e.query_id[i], e.positive_id[i], e.known_id[i], e.negative_id[i])
    found = []
    for j in range(len(e)):
        if j == i:
            continue
        if int(e.positive_id[j, 0]) not in scored and e.query_id[j] != e.query_id[i]:
            found.append(similarity(e.query[i], e.positive[j, 0], kind))
        for v in range(e.negative.shape[1]):
            if e.negative_mask[j, v] and int(e.negative_id[j, v]) not in scored:
                found.append(similarity(e.query[i], e.negative[j, v], kind))
    return found
