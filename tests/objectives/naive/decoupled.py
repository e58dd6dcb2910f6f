"""DCL and DCLW as a loop."""

from __future__ import annotations

import torch
from torch import Tensor

from embedkit.types import Embeddings
from tests.objectives import options as o
from tests.objectives.naive.base import Rows, example_weight, similarity
from tests.objectives.naive.contrastive import negatives_of


def dcl(c: o.DCL, e: Embeddings, pieces: tuple[object, ...], temperature: float | Tensor) -> Rows:
    assert not pieces
    pairs = [[similarity(q, p, c.similarity) for p in ps] for q, ps in zip(e.query, e.positive, strict=True)]
    flat = [s for row in pairs for s in row]
    values, weights = [], []
    for i in range(len(e)):
        losses, seen = [], 0
        for side in "qd":
            group = [d for d in c.directions if d[0] == side]
            for k, pair in enumerate(pairs[i]):
                w = 1.0
                if c.sigma is not None:
                    whole = torch.stack([torch.exp(s / c.sigma) for s in flat]).sum()
                    w = 2 - len(flat) * torch.exp(pair / c.sigma) / whole
                    w = w.detach() if c.detach_weights else w
                found = [x for d in group for x in negatives_of(c, e, i, k, d, (), temperature)]
                losses.append(torch.stack(found).sum().log() - w * pair / temperature if found else 0 * pair)
                seen += len(found)
        values.append(torch.stack(losses).mean())
        weights.append(example_weight(e, i) * (seen > 0))
    return torch.stack(values), torch.stack(weights)
