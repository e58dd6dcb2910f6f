"""The contrast with label texts as a loop."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from embedkit.types import Embeddings
from tests.objectives import options as o
from tests.objectives.naive.base import similarity


def label_anchors(c: o.LabelAnchors, e: Embeddings) -> Tensor:
    copies: dict[int, list[Tensor]] = {}
    for i in range(len(e)):
        copies.setdefault(int(e.positive_id[i, 0]), []).append(e.positive[i, 0])
        for k in range(e.negative.shape[1]):
            if e.negative_mask[i, k]:
                copies.setdefault(int(e.negative_id[i, k]), []).append(e.negative[i, k])
    anchors = {text: torch.stack(found).mean(0) for text, found in copies.items()}
    rows = [(int(e.positive_id[i, 0]), e.query[i]) for i in range(len(e))] + list(anchors.items())
    losses = []
    for i, (own, z) in enumerate(rows):
        terms = {
            j: (((1 + similarity(z, other, "cos")) / 2 + 1e-8) / c.temperature).exp()
            for j, (_, other) in enumerate(rows)
            if j != i
        }
        alike = [term for j, term in terms.items() if rows[j][0] == own]
        if alike:
            share = torch.stack(alike).sum() / torch.stack(list(terms.values())).sum()
            losses.append(-torch.log(share / (len(alike) + 1e-8) + 1e-8))
        elif c.count_lone:
            losses.append(z.new_tensor(-math.log(1e-8)))
    loss = torch.stack(losses).sum() / (len(losses) + 1e-8)
    if not c.angle_weight:
        return loss
    mean = torch.stack(list(anchors.values())).mean(0)
    angles = [
        torch.arccos(max(similarity(a - mean, b - mean, "cos") for other, b in anchors.items() if other != text))
        for text, a in anchors.items()
    ]
    return loss - c.angle_weight * torch.stack(angles).mean()
