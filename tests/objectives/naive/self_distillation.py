"""SwAV and BYOL as loops."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from embedkit.types import Embeddings
from tests.objectives import options as o
from tests.objectives.naive.base import ZERO, Rows, example_weight, ids, similarity


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


def _column(batch: Embeddings, v: int) -> Tensor:
    return batch.query if v == 0 else batch.positive[:, v - 1]


def _said(c: o.BYOL, x: Tensor, parameters: dict[str, Tensor]) -> Tensor:
    hidden = x @ parameters["first.weight"].T + parameters["first.bias"]
    if c.batch_norm:
        mean = hidden.mean(0)
        spread = (hidden - mean).square().mean(0)
        hidden = (hidden - mean) / (spread + 1e-5).sqrt() * parameters["scale"] + parameters["shift"]
    return functional.relu(hidden) @ parameters["second.weight"].T + parameters["second.bias"]


def byol(c: o.BYOL, e: Embeddings, parameters: dict[str, Tensor]) -> Tensor:
    seen = e if c.momentum is None else e.target
    assert seen is not None
    views = 1 + e.positive.shape[1]
    total, weights = ZERO, sum((example_weight(e, i) for i in range(len(e))), ZERO)
    for u in range(views):
        said = _said(c, _column(e, u), parameters)
        for v in range(views):
            if v == u:
                continue
            for i in range(len(e)):
                loss = 2 - 2 * similarity(said[i], _column(seen, v)[i].detach(), "cos")
                total = total + example_weight(e, i) * loss / weights / (views * (views - 1))
    return total


def beclr(c: o.BECLR, e: Embeddings, past: list[Embeddings], parameters: dict[str, Tensor]) -> Tensor:
    """With one cluster, or none yet: the neighbours are the nearest of the whole memory."""
    assert c.clusters == 1
    seen = e if c.momentum is None else e.target
    assert seen is not None
    views, n = 1 + e.positive.shape[1], len(e)
    earlier = [(batch if c.momentum is None else batch.target, batch, i) for batch in past for i in range(len(batch))]
    kept = [(side.query[i], int(batch.query_id[i])) for side, batch, i in earlier][-c.memory :] if c.memory else []
    kept = kept if len(kept) == c.memory else []
    match = [ids(e.query_id[i], e.positive_id[i], e.known_id[i]) for i in range(n)]
    weights = sum((example_weight(e, i) for i in range(n)), ZERO)
    total = ZERO
    for u in range(views):
        said = _said(c, _column(e, u), parameters)
        for v in range(views):
            for i in range(n):
                if v == u:
                    continue
                wanted = _column(seen, v)[i].detach()
                others = [x for x, text in kept if text not in match[i]]
                near = sorted(others, key=lambda x: -float(similarity(wanted, x, "cos")))[: c.neighbours]
                cosines = torch.stack([similarity(said[i], x, "cos") for x in (wanted, *near)])
                total = total - example_weight(e, i) * cosines.mean() / weights / (views * (views - 1))
    return total + c.weight * _apart(c, e, match)


def _apart(c: o.BECLR, e: Embeddings, match: list[set[int]]) -> Tensor:
    views, n = 1 + e.positive.shape[1], len(e)
    mean, weights = ZERO, ZERO
    for i in range(n):
        others = [j for j in range(n) if j != i and not match[i] & ids(e.query_id[j], e.positive_id[j])]
        for u in range(views):
            found = [similarity(_column(e, u)[i], _column(e, v)[j], "cos") for j in others for v in range(views)]
            mean = mean + example_weight(e, i) * (torch.stack(found) / c.temperature).exp().mean()
            weights = weights + example_weight(e, i)
    return (mean / weights).log()
