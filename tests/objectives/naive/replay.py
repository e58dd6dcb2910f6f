"""SupCon of replayed rows as a loop."""

from __future__ import annotations

import torch

from embedkit.types import Embeddings
from tests.objectives import options as o
from tests.objectives.naive.base import ZERO, Rows, example_weight, ids, similarity


def replay_supcon(c: o.ReplaySupCon, e: Embeddings) -> Rows:
    assert e.target is not None and e.memory is not None and e.label is not None
    now = [[e.query[i], *e.positive[i]] for i in range(len(e))]
    before = [[e.target.query[i], *e.target.positive[i]] for i in range(len(e))]
    places = [(j, v) for j in range(len(e)) for v in range(len(now[j]))]
    values, weights = [], []
    for i in range(len(e)):
        match, losses = ids(e.query_id[i], e.positive_id[i], e.known_id[i]), []
        for u in range(len(now[i]) if e.memory[i] else 0):
            against = [(j, v) for j, v in places if (j, v) != (i, u) and (c.against == "batch" or bool(e.memory[j]))]
            positives = [
                (j, v)
                for j, v in places
                if e.memory[j]
                and (i == j or match & ids(e.query_id[j], e.positive_id[j]) or int(e.label[i]) == int(e.label[j]))
            ]
            apart = sum((torch.exp(similarity(now[i][u], now[j][v], "cos") / c.temperature) for j, v in against), ZERO)
            near = [similarity(now[i][u], before[j][v].detach(), "cos") / c.temperature for j, v in positives]
            if against:
                losses.append(-torch.stack([x - apart.log() for x in near]).mean())
        values.append(torch.stack(losses).mean() if losses else ZERO)
        weights.append(example_weight(e, i) * len(losses) / len(now[i]))
    return torch.stack(values), torch.stack(weights)
