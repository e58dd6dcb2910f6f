"""Dynamic contrastive distillation as a loop."""

from __future__ import annotations

from math import exp, log

import torch
from torch import Tensor

from embedkit.types import Embeddings
from tests.objectives import options as o
from tests.objectives.naive.base import ZERO, Rows, example_weight
from tests.objectives.naive.candidates import listed


def dcd(c: o.DCD, e: Embeddings) -> Rows:
    found = [listed(c, e, i) for i in range(len(e))]
    kept = [i for i in range(len(e)) if len(found[i][0]) > 1]
    entropy = {}
    for i in kept:
        parts = [exp(y) for y in found[i][1]]
        entropy[i] = -sum(p / sum(parts) * log(p / sum(parts)) for p in parts)
    hard = {i: entropy[i] / sum(entropy.values()) for i in kept}
    soft = {i: exp((1 - hard[i]) ** 2) if c.weights == "both" else 1.0 for i in kept}
    values = []
    for i in range(len(e)):
        scores, teacher = found[i]
        if i not in kept:
            values.append((e.query[i] * 0).sum())
            continue
        error = sum(((s - t) ** 2 for s, t in zip(scores, teacher, strict=True)), ZERO) / len(scores)
        labels = sum((_bce(s, k == 0) for k, s in enumerate(scores)), ZERO) / len(scores)
        share = soft[i] / sum(soft.values())
        values.append(len(kept) * (c.alpha * share * error + (1 - c.alpha) * hard[i] * labels))
    return torch.stack(values), torch.stack([example_weight(e, i) * (i in kept) for i in range(len(e))])


def _bce(score: Tensor, match: bool) -> Tensor:
    return -(score.sigmoid() if match else 1 - score.sigmoid()).log()
