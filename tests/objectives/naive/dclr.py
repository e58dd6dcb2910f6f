"""DCLR as a loop."""

from __future__ import annotations

import torch
from torch import Tensor

from embedkit.types import Embeddings
from tests.objectives import options as o
from tests.objectives.naive.base import ZERO, Rows, example_weight, others, similarity


def noise(c: o.DCLR, e: Embeddings) -> Tensor:
    """The noise after its steps, by autograd on the whole loss."""
    generator = torch.Generator().manual_seed((0xDC12 << 32) + e.step)
    x = torch.randn(int(len(e) * c.noise_times), e.query.shape[1], generator=generator).double()
    q = torch.nn.functional.normalize(e.query.detach(), dim=1)
    documents = torch.cat([e.positive.detach().flatten(0, 1), e.negative.detach()[e.negative_mask]])
    documents = torch.nn.functional.normalize(documents, dim=1)
    t = c.noise_temperature or c.temperature
    for _ in range(c.noise_steps if len(x) else 0):
        x = x.detach().requires_grad_()
        to_noise = q @ torch.nn.functional.normalize(x, dim=1).T / t
        if c.variant == "released":
            to_noise = torch.cat([to_noise, q @ documents.T / t], 1)
        (gradient,) = torch.autograd.grad(torch.logsumexp(to_noise, 1).mean(), x)
        x = x + c.step_length * gradient / gradient.norm(dim=1, keepdim=True)
    return x.detach()


def dclr(c: o.DCLR, e: Embeddings) -> Rows:
    values, weights, extra = [], [], noise(c, e)
    for i in range(len(e)):
        positive = similarity(e.query[i], e.positive[i, 0], "cos") / c.temperature
        kept, removed = [], 0
        for x, seen, known in others(e, i):
            if known or similarity(e.guide.query[i], seen, "cos") > c.phi:
                removed += 1
            else:
                kept.append(similarity(e.query[i], x, "cos") / c.temperature)
        kept += [similarity(e.query[i], x, "cos") / c.temperature for x in extra]
        weights.append(example_weight(e, i) * (len(kept) + (removed if c.variant == "released" else 0) > 0))
        if c.variant == "paper":
            total = torch.stack(kept).exp().sum() if kept else positive.exp()
            values.append((total / positive.exp()).log())
            continue
        p = torch.stack([positive, *kept, *[ZERO] * removed]).softmax(0)
        values.append((-p[0].log() - (1 - p[1:]).log().sum()) / len(p))
    return torch.stack(values), torch.stack(weights)
