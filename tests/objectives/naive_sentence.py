"""The objectives of `embedkit.recipe.sentence` as loops, written from the formulas alone; see `naive`."""

from __future__ import annotations

import torch
from torch import Tensor

from embedkit.types import Embeddings
from tests.objectives import options as o
from tests.objectives.naive import Rows, example_weight, ids, similarity

ZERO = torch.zeros((), dtype=torch.float64)


def others(e: Embeddings, i: int) -> list[tuple[Tensor, Tensor | None, bool]]:
    """(embedding, the guide's, whether the text is known to match) of every document of row i but its positives."""
    match = ids(e.query_id[i], e.positive_id[i], e.known_id[i])
    found = []
    for j in range(len(e)):
        again = bool(ids(e.query_id[i]) & ids(e.query_id[j]))
        for v in range(e.positive.shape[1]):
            if j != i:
                seen = None if e.guide is None else e.guide.positive[j, v]
                found.append((e.positive[j, v], seen, again or int(e.positive_id[j, v]) in match))
        for v in range(e.negative.shape[1]):
            if e.negative_mask[j, v]:
                seen = None if e.guide is None else e.guide.negative[j, v]
                found.append((e.negative[j, v], seen, int(e.negative_id[j, v]) in match))
    return found


def negatives(e: Embeddings, i: int) -> list[Tensor]:
    """Cosines of query i with its negatives."""
    return [similarity(e.query[i], x, "cos") for x, _, known in others(e, i) if not known]


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


def macl(c: o.MACL, e: Embeddings) -> Rows:
    pairs = [similarity(q, p, "cos") for q, ps in zip(e.query, e.positive, strict=True) for p in ps]
    t = c.tau0 * (1 + c.alpha * (torch.stack(pairs).mean().detach() - c.a0))
    values, weights = [], []
    for i in range(len(e)):
        rest = torch.stack([(x / t).exp() for x in negatives(e, i)]).sum()
        own = [(similarity(e.query[i], p, "cos") / t).exp() for p in e.positive[i]]
        values.append(torch.stack([-(p / (p + rest)).log() / (rest / (p + rest)).detach() for p in own]).mean())
        weights.append(example_weight(e, i))
    return torch.stack(values), torch.stack(weights)


def supcon(c: o.SupCon, e: Embeddings) -> Rows:
    views = [[e.query[i], *e.positive[i]] for i in range(len(e))]
    flat = [(j, v) for j in range(len(e)) for v in range(len(views[j]))]
    factor = 1.0 if c.base_temperature is None else c.temperature / c.base_temperature
    values, weights = [], []
    for i in range(len(e)):
        match = ids(e.query_id[i], e.positive_id[i], e.known_id[i])
        losses = []
        for u in range(len(views[i])):
            logits = {a: similarity(views[i][u], views[a[0]][a[1]], "cos") / c.temperature for a in flat if a != (i, u)}
            total = torch.stack(list(logits.values())).exp().sum().log()
            positives = [
                total - logit
                for (j, _), logit in logits.items()
                if j == i
                or bool(match & ids(e.query_id[j], e.positive_id[j]))
                or (c.labels and int(e.label[i]) == int(e.label[j]))
            ]
            losses += [torch.stack(positives).mean() * factor] if positives else []
        values.append(torch.stack(losses).mean() if losses else ZERO)
        weights.append(example_weight(e, i) * len(losses) / len(views[i]))
    return torch.stack(values), torch.stack(weights)


def rank(c: o.Rank, e: Embeddings) -> Tensor:
    """From singular values instead of eigenvalues."""
    rows, weights = [], []
    for i in range(len(e)):
        own = [e.query[i]]
        if c.of == "all":
            own += [*e.positive[i], *e.negative[i][e.negative_mask[i]]]
        rows += [x / x.norm() for x in own]
        weights += [example_weight(e, i)] * len(own)
    share = torch.stack(weights) / torch.stack(weights).sum()
    p = torch.linalg.svdvals(torch.stack(rows) * share.sqrt()[:, None]) ** 2
    h = -(p * p.log()).sum()
    return h if c.quantity == "entropy" else h.exp()


def energy_hinge(c: o.EnergyHinge, e: Embeddings) -> Rows:
    values, weights = [], []
    for i in range(len(e)):
        hardest = max(negatives(e, i))
        own = [similarity(e.query[i], p, "cos") for p in e.positive[i]]
        values.append(torch.stack([(c.margin + hardest - p).clamp_min(0) for p in own]).mean())
        weights.append(example_weight(e, i))
    return torch.stack(values), torch.stack(weights)


def contrastive_tension(c: o.ContrastiveTension, e: Embeddings) -> Rows:
    values, weights = [], []
    for i in range(len(e)):
        p = (e.query[i] * e.positive[i, 0]).sum().sigmoid()
        y = e.score[i, 0]
        values.append(-y * p.log() - (1 - y) * (1 - p).log())
        weights.append(example_weight(e, i))
    return torch.stack(values), torch.stack(weights)
