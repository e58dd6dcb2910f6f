"""Continuously weighted contrast as a loop."""

from __future__ import annotations

import torch
from torch import Tensor

from embedkit.types import Embeddings
from tests.objectives import options as o
from tests.objectives.naive.base import Rows, example_weight, ids, similarity


def cwcl(c: o.CWCL, e: Embeddings) -> Rows:
    g = e.guide
    assert g is not None
    documents = [(e.positive[j, 0], g.positive[j, 0], j) for j in range(len(e))]
    for j in range(len(e)):
        for v in range(e.negative.shape[1]):
            if e.negative_mask[j, v]:
                documents.append((e.negative[j, v], g.negative[j, v], j))
    values, weights = [], []
    for i in range(len(e)):
        logits = torch.stack([similarity(e.query[i], d, "cos") / c.temperature for d, _, _ in documents])
        teacher: list[Tensor] = []
        for _, seen, j in documents:
            own, other = (g.query[i], g.query[j]) if c.of == "query" else (g.positive[i, 0], seen)
            cosine = similarity(own, other, "cos")
            linear = (1 + cosine) / 2
            teacher.append(linear if c.teacher_temperature is None else torch.exp(cosine / c.teacher_temperature))
        w = torch.stack(teacher)
        value = -(w / w.sum() * (logits - logits.exp().sum().log())).sum()
        back = [logits[i]]
        for j in range(len(e)):
            again = int(e.query_id[i]) == int(e.query_id[j])
            match = ids(e.positive_id[i]) & ids(e.query_id[j], e.positive_id[j], e.known_id[j])
            if j != i and not again and not match:
                back.append(similarity(e.query[j], e.positive[i, 0], "cos") / c.temperature)
        value = value + c.reverse * (torch.stack(back).exp().sum().log() - logits[i])
        values.append(value)
        weights.append(example_weight(e, i))
    return torch.stack(values), torch.stack(weights)
