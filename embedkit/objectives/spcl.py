"""Supervised prototypical contrastive learning."""

from __future__ import annotations

import torch
from torch import Tensor

from embedkit.errors import DataError
from embedkit.objectives.base import Objective, example_weight
from embedkit.objectives.companions import Pools
from embedkit.objectives.logits import log_sum_exp, products, unit
from embedkit.types import Embeddings, LossOut

GUARD = 1e-8
"""Added to probability and similarity in the released code; the loss is 18.4 at most."""


class SPCL(Objective):
    """SPCL (Song et al., EMNLP 2022; caskcsg/SPCL): the contrastive loss, without its classifier and its curriculum.

    Keys are the batch's queries and a prototype per class, anchors the queries. With
    ``s = ((1 + cos) / 2 + 1e-8) / t``, P the keys of the anchor's class and O the others, the anchor itself left out::

        loss_i = -log [ sum_P e^s / (sum_P e^s + sum_O e^s) / |P| + 1e-8 ]

    so that its floor is log |P|. A prototype is the mean of `support` of the `pool` newest texts of its class, a
    constant; the code has the last epoch's centre while there are fewer, here it is the mean of those. A class that was
    not met yet has no prototype; an anchor without a key of its class does not count.

    Args:
        temperature: t.
        pool: texts remembered per class.
        support: texts of a prototype, drawn from the step.
        ignore_below: rows whose loss is not above this do not count.

    Raises:
        DataError: no labels, or explicit negatives.
    """

    remembers = True

    def __init__(
        self, temperature: float = 0.05, pool: int = 256, support: int = 64, ignore_below: float = 0.3
    ) -> None:
        super().__init__()
        self.temperature, self.support, self.ignore_below = temperature, support, ignore_below
        self.memory = Pools(pool)

    def columns(self, e: Embeddings) -> int:
        return len(e) + len(self.memory)

    def forward(self, e: Embeddings, rows: Tensor) -> LossOut:
        label, n = _labels(e), len(e)
        key, classes = unit(e.query), label
        if len(self.memory):
            prototypes, their = self.memory.prototypes(self.support, e.step)
            key, classes = torch.cat([key, unit(prototypes.to(key))]), torch.cat([label, their])
        logits = ((1 + products(unit(e.query[rows]), key)) / 2 + GUARD) / self.temperature
        other = rows[:, None] != torch.arange(len(key), device=rows.device)
        same = (label[rows, None] == classes) & other
        count = same.sum(1)
        has = count > 0
        value = log_sum_exp(logits, other) - torch.where(has, log_sum_exp(logits, same), 0.0)
        value = torch.where(has, value, 0.0) + count.clamp_min(1).to(value.dtype).log()
        value = -torch.logaddexp(-value, value.new_tensor(GUARD).log())
        counts = has & ((value.detach() > self.ignore_below) if self.ignore_below else has)
        metrics = {
            "positives": count.to(value.dtype).mean(),
            "prototypes": float(len(key) - n),
            "ignored": (has & ~counts).to(value.dtype).mean(),
        }
        return LossOut(value * has, example_weight(e, rows) * counts, metrics)

    @torch.no_grad()
    def remember(self, e: Embeddings) -> None:
        self.memory.push(unit(e.query), _labels(e))


def _labels(e: Embeddings) -> Tensor:
    if e.label is None:
        raise DataError("objective 'spcl' needs labels", where="label", cure="name the label column in roles")
    if e.negative.shape[1]:
        raise DataError(
            "objective 'spcl' has no place for explicit negatives", where="negative", cure="set negatives.per_query: 0"
        )
    return e.label
