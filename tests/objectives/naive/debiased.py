"""The debiased loss and HCL as a loop."""

from __future__ import annotations

import torch
from torch import Tensor

from embedkit.recipe.objectives.contrastive import InfoNCE
from embedkit.types import Embeddings
from tests.objectives import options as o
from tests.objectives.naive.base import Rows, example_weight, similarity
from tests.objectives.naive.contrastive import negatives_of


def debiased(c: o.Debiased, e: Embeddings) -> Rows:
    plain = InfoNCE(directions=c.directions, temperature=c.temperature)
    values, weights = [], []
    for i in range(len(e)):
        losses, seen = [], 0
        for side in "qd":
            group = [d for d in c.directions if d[0] == side]
            if not group:
                continue
            for k in range(e.positive.shape[1]):
                found = [x for d in group for x in negatives_of(plain, e, i, k, d, (), c.temperature)]
                p = torch.exp(similarity(e.query[i], e.positive[i, k], "cos") / c.temperature)
                losses.append(_loss(c, p, torch.stack(found)) if found else 0.0 * p)
                seen += len(found)
        values.append(torch.stack(losses).mean())
        weights.append(example_weight(e, i) * (seen > 0))
    return torch.stack(values), torch.stack(weights)


def _loss(c: o.Debiased, p: Tensor, found: Tensor) -> Tensor:
    w = found**c.beta / (found**c.beta).mean()
    w = w.detach() if c.detach_weights else w
    g = ((w * found).mean() - c.tau_plus * p) / (1 - c.tau_plus)
    g = torch.maximum(g, torch.exp(torch.tensor(-1 / c.temperature, dtype=torch.float64)))
    return -torch.log(p / (p + len(found) * g))
