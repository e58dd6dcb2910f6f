"""The rescaler of row losses, over InfoNCE as a loop."""

from __future__ import annotations

import math
from dataclasses import fields, replace

import torch
from torch import Tensor
from torch.nn import functional

from embedkit.types import Embeddings
from tests.objectives import options as o
from tests.objectives.naive.base import ZERO
from tests.objectives.naive.contrastive import infonce


def storm(c: o.STORM, e: Embeddings, parameters: dict[str, Tensor]) -> Tensor:
    inner = c.objective
    assert isinstance(inner, o.InfoNCE)

    def weigh(values: Tensor, counts: Tensor) -> Tensor:
        kept = [float(v) for v, n in zip(values.detach(), counts, strict=True) if n > 0]
        mean = sum(kept) / len(kept)
        spread = math.sqrt(max(sum((v - mean) ** 2 for v in kept) / len(kept), torch.finfo(torch.float64).eps))
        found = []
        for v in values.detach().tolist():
            below = sum(v > other for other in kept) / len(kept)
            z = min(5.0, max(-5.0, (v - mean) / spread))
            x = torch.tensor([math.log1p(max(0.0, v)), z, math.exp(-max(0.0, v)), below], dtype=torch.float64)
            hidden = functional.relu(parameters["first.weight"] @ x + parameters["first.bias"])
            found.append(torch.sigmoid(parameters["second.weight"][0] @ hidden + parameters["second.bias"][0]))
        r = torch.stack(found)
        plain = sum((n * v for n, v in zip(counts, values.detach(), strict=True)), ZERO)
        rescaled = sum((n * x * v for n, x, v in zip(counts, r.detach(), values.detach(), strict=True)), ZERO)
        return r * plain / rescaled

    def loss(batch: Embeddings, constant: bool) -> Tensor:
        values, counts = infonce(inner, batch, (), torch.tensor(inner.temperature, dtype=torch.float64))
        w = weigh(values, counts)
        return ((w.detach() if constant else w) * values * counts).sum() / counts.sum()

    def half(k: int, layer: Tensor) -> Embeddings:
        rows = list(range(k, len(e), 2))
        cut = {f.name: v[rows] for f in fields(e) if isinstance(v := getattr(e, f.name), Tensor)}
        moved = {n: cut[n].detach() + cut[n].detach() @ layer for n in ("query", "positive", "negative")}
        return replace(e, **{**cut, **moved})

    layer = torch.zeros(e.query.shape[1], e.query.shape[1], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(loss(half(0, layer), False), layer, create_graph=True)
    judged = loss(half(1, -c.rate * slope), False)
    return loss(e, True) + judged - judged.detach()
