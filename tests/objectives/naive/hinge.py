"""The energy hinge as a loop."""

from __future__ import annotations

import torch

from embedkit.types import Embeddings
from tests.objectives import options as o
from tests.objectives.naive.base import Rows, example_weight, negatives, similarity


def energy_hinge(c: o.EnergyHinge, e: Embeddings) -> Rows:
    values, weights = [], []
    for i in range(len(e)):
        hardest = max(negatives(e, i))
        own = [similarity(e.query[i], p, "cos") for p in e.positive[i]]
        values.append(torch.stack([(c.margin + hardest - p).clamp_min(0) for p in own]).mean())
        weights.append(example_weight(e, i))
    return torch.stack(values), torch.stack(weights)
