"""Contrast of three fields or more at once, by the sum of their product."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from embedkit.errors import DataError
from embedkit.objectives.base import Objective, example_weight
from embedkit.objectives.logits import log_sum_exp, products
from embedkit.objectives.views import itself, matching, no_negatives, stacked
from embedkit.types import Embeddings, LossOut

_ORDERS = 0x53594D31
"""Keeps these draws apart from others that depend on the step."""


class Symile(Objective):
    """Symile (arXiv 2411.01053) on K fields of an example, the query and its positives in order, unit vectors x_k.

    The multilinear product ``<x_1, ..., x_K>`` is the sum over coordinates of the product of all. With each field k as
    the anchor in turn, a softmax tells the row's own combination of the other fields from others::

        loss_i = mean over k of [ log sum over combinations of e^(scale <x_ki, others>) - scale <x_1i, ..., x_Ki> ]

    ``all`` takes every combination of the batch, N^(K-1); ``shuffled`` N, each other field in a random order (by the
    step alone), the row's own combination in its place. Combinations of texts that are all known to match are left
    out; a row without any other counts nothing.

    The product is no similarity: equal vectors are not a maximum, and two fields cannot be compared by it alone. Of
    unit vectors of size 768 it is about 0.001 in random triples: scales of 100 to 1000. For fields that complete each
    other (question, passage, answer), not for views of one text.

    Args:
        scale: of the logits.
        learn_scale: train log(scale).
        negatives: all or shuffled.
        mask_duplicates: leave out combinations that are known to match. Without it a random order may make the row's
            own combination a negative, as it does in the authors' code.

    Raises:
        DataError: fewer than three fields, or explicit negatives.
    """

    def __init__(
        self,
        scale: float = 100.0,
        learn_scale: bool = False,
        negatives: Literal["all", "shuffled"] = "shuffled",
        mask_duplicates: bool = True,
    ) -> None:
        super().__init__()
        self.scale, self.negatives, self.mask_duplicates = scale, negatives, mask_duplicates
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale))) if learn_scale else None

    def columns(self, e: Embeddings) -> int:
        return len(e) ** (e.positive.shape[1] if self.negatives == "all" else 1)

    def draw(self, e: Embeddings) -> list[list[Tensor]]:
        """Per anchor field, per other field: an order of the examples, [N]."""
        rng, fields = np.random.default_rng([_ORDERS, e.step]), 1 + e.positive.shape[1]
        orders = [[rng.permutation(len(e)) for _ in range(fields - 1)] for _ in range(fields)]
        return [[torch.from_numpy(one).to(e.query.device) for one in some] for some in orders]

    def forward(self, e: Embeddings, rows: Tensor) -> LossOut:
        no_negatives(e, "symile")
        x = stacked(e)
        if x.shape[1] < 3:
            raise DataError(
                f"objective 'symile' needs three fields or more, the batch has {x.shape[1]}",
                where="positive",
                cure="name two columns or more: roles.positive: [passage, answer]",
            )
        scale: Tensor | float = self.scale if self.log_scale is None else self.log_scale.exp()
        orders = self.draw(e) if self.negatives == "shuffled" else None
        same = itself(e, rows)
        alike = matching(e, rows) if self.mask_duplicates else same
        losses, own_products = [], []
        for k in range(x.shape[1]):
            fields = [x[:, m] for m in range(x.shape[1]) if m != k]
            if orders is None:
                other, known = combined(fields), all_of([alike] * len(fields))
            else:
                other = torch.stack([f[order] for f, order in zip(fields, orders[k], strict=True)]).prod(0)
                again = torch.stack([alike[:, order] for order in orders[k]]).all(0)
                known = same | again if self.mask_duplicates else same
            own = (x[rows, k] * torch.stack(fields)[:, rows].prod(0)).sum(1)
            rest = log_sum_exp(scale * products(x[rows, k], other), ~known)
            losses.append(torch.logaddexp(torch.zeros_like(rest), rest - scale * own))
            own_products.append(own.detach().mean())
        metrics = {"positive_product": torch.stack(own_products).mean()}
        return LossOut(torch.stack(losses).mean(0), example_weight(e, rows) * ~alike.all(1), metrics)


def combined(fields: Sequence[Tensor]) -> Tensor:
    """[N^F, d] products of one row of each field, in every combination; the last field varies fastest."""
    product = fields[0]
    for field in fields[1:]:
        product = (product[:, None] * field).flatten(0, 1)
    return product


def all_of(masks: Sequence[Tensor]) -> Tensor:
    """[m, N^F] where every mask holds, in the order of `combined`."""
    found = masks[0]
    for mask in masks[1:]:
        found = (found[:, :, None] & mask[:, None]).flatten(1)
    return found
