"""SupCon as a loop."""

from __future__ import annotations

import torch

from embedkit.types import Embeddings
from tests.objectives import options as o
from tests.objectives.naive.base import ZERO, Rows, example_weight, ids, similarity


def supcon(c: o.SupCon, e: Embeddings) -> Rows:
    views = [[e.query[i], *e.positive[i]] for i in range(len(e))]
    flat = [(j, v) for j in range(len(e)) for v in range(len(views[j]))]
    factor = 1.0 if c.base_temperature is None else c.temperature / c.base_temperature
    values, weights = [], []
    for i in range(len(e)):
        match = ids(e.query_id[i], e.positive_id[i], e.known_id[i])
        losses = []
        for u in range(len(views[i])):
            logits = {
                a: similarity(views[i][u], views[a[0]][a[1]], c.similarity) / c.temperature for a in flat if a != (i, u)
            }
            total = torch.stack(list(logits.values())).exp().sum().log()
            positives = [
                total - logit
                for (j, _), logit in logits.items()
                if j == i
                or bool(match & ids(e.query_id[j], e.positive_id[j]))
                or (c.labels and int(e.label[i]) == int(e.label[j]))
            ]
            losses += [torch.stack(positives).mean() * factor] if positives else []
        values.append(torch.stack(losses).mean() if losses else ZERO)
        weights.append(example_weight(e, i) * len(losses) / len(views[i]))
    return torch.stack(values), torch.stack(weights)
