"""Contrast by sorting: positives are to end above the hardest negatives in a differentiable order."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from embedkit.objectives.base import Objective, example_weight
from embedkit.objectives.logits import products
from embedkit.objectives.views import matching, needs_positives, no_negatives, stacked
from embedkit.types import Embeddings, LossOut


def sorted_shares(x: Tensor, absent: Tensor, top: int, steepness: float) -> Tensor:
    """How much of each value ends among the `top` last places of a relaxed odd-even sorting network.

    Layer t of n compares the neighbours that begin at t mod 2. Two values a before b keep their places to the share
    ``arctan(steepness (b - a)) / pi + 1/2`` and change them to the rest, and so do the shares that they are made of.

    Args:
        x: [b, n], ascending where the order is right already.
        absent: [b, n] bool, places at the front that hold nothing: they never move.
        top: how many last places.
        steepness: large sorts hard.

    Returns:
        [b, n] in 0..1; a row sums to `top`.
    """
    b, n = x.shape
    shares = torch.eye(n, dtype=x.dtype, device=x.device).expand(b, n, n)
    for layer in range(n):
        start = layer % 2
        first = torch.arange(start, n - 1, 2, device=x.device)
        low, high = x[:, first], x[:, first + 1]
        keep = torch.atan(steepness * (high - low)) / math.pi + 0.5
        keep = torch.where(absent[:, first], 1.0, keep)
        x = x.index_copy(1, first, keep * low + (1 - keep) * high)
        x = x.index_copy(1, first + 1, (1 - keep) * low + keep * high)
        left, right, k = shares[:, :, first], shares[:, :, first + 1], keep[:, None]
        shares = shares.index_copy(2, first, k * left + (1 - k) * right)
        shares = shares.index_copy(2, first + 1, (1 - k) * left + k * right)
    return shares[:, :, n - top :].sum(2)


class GroCo(Objective):
    """Learning by sorting with group ordering constraints (arXiv 2301.02009), per view of a text.

    An anchor's list holds its `top_k` highest cosines with the same view of other texts, then those with its own other
    views. A relaxed sorting network (`sorted_shares`) says to what share P of 0..1 each ends among the last places, as
    many as there are positives; the loss is the mean binary cross-entropy of P against whether it is a positive.

    With steepness 1 and cosines an exchange is never surer than 0.85, so the loss stays well above 0 and gradients are
    10 to 100 times smaller than InfoNCE's: raise the steepness to about 10, or the weight and the learning rate. Texts
    known to match are no negatives (an anchor with fewer has a shorter list); a text without any counts nothing.

    Args:
        top_k: hardest negatives of an anchor; at most N - 1.
        steepness: of the exchanges.
        detach_others: gradient reaches the anchor alone, the others are constants.

    Raises:
        DataError: the batch has no positives, or explicit negatives.
    """

    def __init__(self, top_k: int = 10, steepness: float = 1.0, detach_others: bool = True) -> None:
        super().__init__()
        self.top_k, self.steepness, self.detach_others = top_k, steepness, detach_others

    def columns(self, e: Embeddings) -> int:
        views = 1 + e.positive.shape[1]
        return views * max(len(e), (self.top_k + views - 1) ** 3)  # each layer keeps its shares

    def forward(self, e: Embeddings, rows: Tensor) -> LossOut:
        needs_positives(e, "groco")
        no_negatives(e, "groco")
        x, other = stacked(e), ~matching(e, rows)
        fixed = x.detach() if self.detach_others else x
        count = x.shape[1]
        losses, lowest = [], []
        for k in range(count):
            anchor = x[rows, k]
            every = products(anchor, fixed[:, k]).masked_fill(~other, -torch.inf)
            hard = every.topk(min(self.top_k, len(e)), 1).values.flip(1)  # ascending, what is absent in front
            mates = [v for v in range(count) if v != k]
            own = (anchor[:, None] * fixed[rows][:, mates]).sum(-1).sort(1).values
            losses.append(self._loss(hard, own))
            lowest.append(own[:, 0].detach().mean())
        metrics = {"positive_similarity": torch.stack(lowest).mean()}
        return LossOut(torch.stack(losses).mean(0), example_weight(e, rows) * other.any(1), metrics)

    def _loss(self, hard: Tensor, own: Tensor) -> Tensor:
        """[m] mean cross-entropy over the list of each anchor."""
        top = own.shape[1]
        absent = torch.cat([hard.isneginf(), torch.zeros_like(own, dtype=torch.bool)], 1)
        values = torch.cat([hard.masked_fill(hard.isneginf(), 0.0), own], 1)
        share = sorted_shares(values, absent, top, self.steepness)
        tiny = torch.finfo(share.dtype).tiny
        hit, miss = -share.clamp(tiny, 1.0).log(), -(1 - share).clamp(tiny, 1.0).log()
        wanted = torch.arange(values.shape[1], device=own.device) >= hard.shape[1]
        each = torch.where(wanted, hit, miss).masked_fill(absent, 0.0)
        return each.sum(1) / (~absent).sum(1)
