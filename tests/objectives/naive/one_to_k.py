"""1-to-K as a loop."""

from __future__ import annotations

import torch

from embedkit.types import Embeddings
from tests.objectives import options as o
from tests.objectives.naive.base import Rows, example_weight, ids, others, similarity


def one_to_k(c: o.OneToK, e: Embeddings) -> Rows:
    values, weights = [], []
    for i in range(len(e)):
        own = [torch.exp(similarity(e.query[i], p, "cos") / c.temperature) for p in e.positive[i]]
        rest = [
            torch.exp(similarity(e.query[i], x, "cos") / c.temperature) for x, _, known in others(e, i) if not known
        ]
        total = torch.stack([*own, *rest]).sum()
        out = torch.stack([torch.log(total / p) for p in own]).sum()
        back, seen = [], len(rest)
        for k, p in enumerate(own):
            terms = [p]
            for j in range(len(e)):
                match = ids(e.positive_id[i]) & ids(e.query_id[j], e.positive_id[j], e.known_id[j])
                if j != i and not match and int(e.query_id[i]) != int(e.query_id[j]):
                    terms.append(torch.exp(similarity(e.query[j], e.positive[i, k], "cos") / c.temperature))
            back.append(torch.log(torch.stack(terms).sum() / p))
            seen += len(terms) - 1
        value = (out + c.back_weight * torch.stack(back).mean()) / 2
        values.append(value / len(own) if c.divide else value)
        weights.append(example_weight(e, i) * bool(seen))
    return torch.stack(values), torch.stack(weights)
