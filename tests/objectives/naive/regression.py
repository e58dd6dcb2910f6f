"""ConR and SupReMix as loops."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from embedkit.types import Embeddings
from tests.objectives import options as o
from tests.objectives.naive.base import ZERO, Rows, example_weight, similarity


def _flat(e: Embeddings) -> list[tuple[int, Tensor]]:
    return [(i, x) for i in range(len(e)) for x in (e.query[i], *e.positive[i])]


def conr(c: o.ConR, e: Embeddings, parameters: dict[str, Tensor]) -> Rows:
    w, b = parameters["regression.weight"][0], parameters["regression.bias"][0]
    assert e.score is not None
    flat = _flat(e)
    said = [(w * x).sum() + b for _, x in flat]
    values = [ZERO] * len(e)
    for a, (i, x) in enumerate(flat):
        error = said[a] - e.score[i, 0]
        loss = error**2 if c.error == "squared" else error.abs()
        positives, rest = [], []
        for k, (j, other) in enumerate(flat):
            gap = float((e.score[i, 0] - e.score[j, 0]).abs())
            s = similarity(x, other, "cos") / c.temperature
            if gap <= c.window:
                positives += [s] if k != a else []
            elif float((said[a] - said[k]).detach().abs()) <= c.window:
                rest.append(example_weight(e, i) * np.exp(c.steepness * gap) * s.exp())
        if positives and rest:
            total = torch.stack([*(s.exp() for s in positives), *rest]).sum().log()
            loss = loss + c.weight * torch.stack([total - s for s in positives]).mean()
        values[i] = values[i] + loss / (1 + e.positive.shape[1])
    return torch.stack(values), torch.stack([example_weight(e, i) for i in range(len(e))])


def supremix(c: o.SupReMix, e: Embeddings) -> Rows:
    """Mixtures are made, one by one."""
    assert e.score is not None
    views = 1 + e.positive.shape[1]
    alpha = np.random.default_rng([0x5C, e.step]).beta(*c.alpha, (len(e), views))
    unit = [(i, x / x.norm()) for i, x in _flat(e)]
    score = [float(s) if c.bins is None else round(float(s) / c.bins) * c.bins for s in e.score[:, 0]]

    def weigh(gap: float) -> float:
        return 1 + (gap**2 if c.distance == "squared" else abs(gap))

    values, shares = [ZERO] * len(e), [0] * len(e)
    for a, (i, x) in enumerate(unit):
        positives, terms = [], []
        for k, (j, other) in enumerate(unit):
            s = (x * other).sum() / c.temperature
            if k != a:
                terms.append(weigh(score[i] - score[j]) * s.exp())
                positives += [s] if score[i] == score[j] else []
            if c.mix and score[i] != score[j]:
                share = float(alpha[i, a % views])
                mixture = (share * x + (1 - share) * other).detach()
                number = share * score[i] + (1 - share) * score[j]
                terms.append(weigh(score[i] - number) * ((x * mixture).sum() / c.temperature).exp())
        for j, low in unit if c.mix else []:
            for k, high in unit:
                if score[j] < score[i] < score[k] and max(score[i] - score[j], score[k] - score[i]) < c.window:
                    share = (score[k] - score[i]) / (score[k] - score[j])
                    s = (x * (share * low + (1 - share) * high).detach()).sum() / c.temperature
                    terms.append(s.exp())
                    positives.append(s)
        if positives:
            values[i] = values[i] + torch.stack(terms).sum().log() - torch.stack(positives).mean()
            shares[i] += 1
    counts = [max(1, n) for n in shares]
    weights = [example_weight(e, i) * shares[i] / views for i in range(len(e))]
    return torch.stack([v / n for v, n in zip(values, counts, strict=True)]), torch.stack(weights)
