"""SepCLR as a loop."""

from __future__ import annotations

import torch
from torch import Tensor

from embedkit.types import Embeddings
from tests.objectives import options as o
from tests.objectives.naive.base import ZERO, ids


def sepclr(c: o.SepCLR, e: Embeddings) -> Tensor:
    assert e.label is not None
    n, t = len(e), 1 / (2 * c.tau)
    label = [int(v) for v in e.label]
    common, salient, shown = [], [], []
    for x in (e.query, e.positive[:, 0]):
        common.append([v[: -c.salient] / v[: -c.salient].norm() for v in x])
        salient.append([v[-c.salient :] for v in x])
        shown.append([v if label[i] else v * 0 for i, v in enumerate(salient[-1])])
    texts = [ids(e.query_id[i], e.positive_id[i]) for i in range(n)]
    match = [texts[i] | ids(e.known_id[i]) for i in range(n)]
    pairs = [(i, j) for i in range(n) for j in range(i + 1, n) if not (match[i] & texts[j] or match[j] & texts[i])]

    def square(x: Tensor, y: Tensor) -> Tensor:
        return t * ((x - y) ** 2).sum()

    def uniform(x: list[Tensor]) -> Tensor:
        return torch.stack([(-square(x[i], x[j])).exp() for i, j in pairs]).mean().log()

    def mean(values: list[Tensor]) -> Tensor:
        return torch.stack(values).mean() if values else ZERO

    loss = mean([square(common[0][i], common[1][i]) for i in range(n)]) + uniform(common[0]) + uniform(common[1])
    target, background = [i for i in range(n) if label[i]], [i for i in range(n) if not label[i]]
    loss = loss + c.salient_weight * (
        mean([square(salient[0][i], salient[1][i]) for i in target]) + uniform(shown[0]) + uniform(shown[1])
    )
    for view in range(2):
        loss = loss + c.infoless_weight * mean([t * (salient[view][i] ** 2).sum() for i in background]) / 2
        joint = []
        for i in range(n):
            apart = [
                square(common[view][i], common[view][j]) + square(shown[view][i], shown[view][j]) for j in range(n)
            ]
            joint.append(mean([(-d).exp() for d in apart]))
        loss = loss + c.jem_weight * mean([v.log() for v in joint]) / 2
    return loss
