"""SimLAP as a loop; the gates' parameters are the objective's."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from embedkit.types import Embeddings
from tests.objectives import options as o
from tests.objectives.naive.base import ZERO, Rows, example_weight
from tests.objectives.naive.uniformity import known, views


def partners(c: o.SimLAP, y: list[int], step: int) -> list[int]:
    rng = np.random.default_rng([0x48594431, step])
    if c.pairs == "identical":
        return y
    if c.pairs == "permutation":
        return [y[j] for j in rng.permutation(len(y))]
    score = rng.random((len(y), len(y)))
    others = [[j for j in range(len(y)) if y[j] != y[i]] for i in range(len(y))]
    return [y[max(some, key=lambda j: score[i, j])] if some else y[i] for i, some in enumerate(others)]


def simlap(c: o.SimLAP, e: Embeddings, p: dict[str, Tensor]) -> Rows:
    x, y = [views(e, i) for i in range(len(e))], [int(v) for v in e.label]
    second = partners(c, y, e.step)
    values, weights = [], []
    for i in range(len(e)):
        mean = (p["vectors"][y[i]] + p["vectors"][second[i]]) / 2
        if c.hidden is not None:
            mean = p["net.2.weight"] @ torch.relu(p["net.0.weight"] @ mean + p["net.0.bias"]) + p["net.2.bias"]
        gate = 1 / (1 + torch.exp(-mean))
        losses = []
        for k, anchor in enumerate(x[i]):

            def logit(z: Tensor, anchor: Tensor = anchor, gate: Tensor = gate) -> Tensor:
                a, b = anchor * gate, z * gate
                return c.scale * (a @ b) / a.norm() / b.norm()

            rest = [
                torch.exp(logit(z))
                for j in range(len(e))
                for z in x[j]
                if y[j] not in (y[i], second[i]) and not known(e, i, j) and j != i
            ]
            for j in range(len(e)):
                for v, z in enumerate(x[j]):
                    if y[j] == second[i] and (c.with_itself or (i, k) != (j, v)):
                        losses.append(torch.log(torch.stack([torch.exp(logit(z)), *rest]).sum()) - logit(z))
        values.append(torch.stack(losses).mean() if losses else ZERO)
        weights.append(example_weight(e, i) * len(losses))
    return torch.stack(values), torch.stack(weights)
