"""SwAV and BYOL as loops."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from embedkit.types import Embeddings
from tests.objectives import options as o
from tests.objectives.naive.base import ZERO, Rows, example_weight, similarity


def swav(c: o.SwAV, e: Embeddings, past: list[Embeddings], parameters: dict[str, Tensor]) -> Rows:
    prototypes = parameters["prototypes"]
    if e.step < c.freeze:
        prototypes = prototypes.detach()
    views = 1 + e.positive.shape[1]

    def scores(batch: Embeddings, i: int, v: int) -> Tensor:
        x = batch.query[i] if v == 0 else batch.positive[i, v - 1]
        return torch.stack([similarity(x, p, "cos") for p in prototypes])

    codes = []
    for s in range(c.code_views):
        earlier = [(batch, i) for batch in past for i in range(len(batch))]
        shown = [*earlier[len(earlier) - c.queue :], *((e, i) for i in range(len(e)))]
        q = (torch.stack([scores(batch, i, s).detach() for batch, i in shown]) / c.epsilon).exp()
        q = q / q.sum()
        for _ in range(c.iterations):
            for k in range(len(prototypes)):
                q[:, k] = q[:, k] / q[:, k].sum() / len(prototypes)
            for i in range(len(shown)):
                q[i] = q[i] / q[i].sum() / len(shown)
        codes.append(q[-len(e) :] * len(shown))
    values = []
    for i in range(len(e)):
        terms = []
        for s in range(c.code_views):
            for v in range(views):
                if v != s:
                    terms.append(-(codes[s][i] * (scores(e, i, v) / c.temperature).log_softmax(0)).sum())
        values.append(torch.stack(terms).mean())
    return torch.stack(values), torch.stack([example_weight(e, i) for i in range(len(e))])


def byol(c: o.BYOL, e: Embeddings, parameters: dict[str, Tensor]) -> Tensor:
    seen = e if c.momentum is None else e.target
    assert seen is not None
    views = 1 + e.positive.shape[1]

    def column(batch: Embeddings, v: int) -> Tensor:
        return batch.query if v == 0 else batch.positive[:, v - 1]

    total, weights = ZERO, sum((example_weight(e, i) for i in range(len(e))), ZERO)
    for u in range(views):
        hidden = column(e, u) @ parameters["first.weight"].T + parameters["first.bias"]
        if c.batch_norm:
            mean = hidden.mean(0)
            spread = (hidden - mean).square().mean(0)
            hidden = (hidden - mean) / (spread + 1e-5).sqrt() * parameters["scale"] + parameters["shift"]
        said = functional.relu(hidden) @ parameters["second.weight"].T + parameters["second.bias"]
        for v in range(views):
            if v == u:
                continue
            for i in range(len(e)):
                loss = 2 - 2 * similarity(said[i], column(seen, v)[i].detach(), "cos")
                total = total + example_weight(e, i) * loss / weights / (views * (views - 1))
    return total
