"""The Mann-Whitney loss: the area under the curve of all scores of a batch, pair by pair."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from embedkit.objectives.base import Objective, example_weight
from embedkit.objectives.contrastive import similarity_metrics
from embedkit.objectives.logits import Pool, Rules
from embedkit.recipe.memory import rows_per_block
from embedkit.recipe.objectives.contrastive import Similarity, columns
from embedkit.types import Embeddings, LossOut


class PairSums(torch.autograd.Function):
    """``sum_k softplus(negative_k - positive_i)`` [m] of positives [m] and negatives [K].

    The m x K pairs are made in blocks of bounded memory, forwards and again backwards; none is kept. A negative of
    -inf counts nothing and gets no gradient.
    """

    @staticmethod
    def forward(ctx: Any, positive: Tensor, negative: Tensor) -> Tensor:
        ctx.save_for_backward(positive, negative)
        total = torch.zeros_like(positive)
        for block in negative.split(_size(positive)):
            total += functional.softplus(block - positive[:, None], threshold=40).sum(1)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        positive, negative = ctx.saved_tensors
        to_positive, to_negative = torch.zeros_like(positive), []
        for block in negative.split(_size(positive)):
            slope = torch.sigmoid(block - positive[:, None])
            to_positive -= slope.sum(1)
            to_negative.append(gradient @ slope)
        return to_positive * gradient, torch.cat(to_negative)


def _size(positive: Tensor) -> int:
    """Negatives per block."""
    return rows_per_block(len(positive), positive.element_size())


class MannWhitney(Objective):
    """``mean_i mean over S- of softplus((s- - s_i+) / t)`` (MW loss, arXiv 2510.00137, equation 2).

    s_i+ are the similarities of the pairs, S- those of **every** query of the batch with every document that is not a
    match of it, explicit negatives included: N (N - 1) + N N M of them where no text repeats. InfoNCE does not change
    when all scores of one query are shifted; this does: one threshold is to part matches from the rest for any query.

    The area over the ROC curve is at most loss / log 2. `reduction` sum is the paper's equation 3: the sum over S-, the
    mean over i. The cost is N times that of InfoNCE's softmax, so it suits batches of hundreds.

    Several positives of a row are averaged; example weights weight the positives' side.

    Metrics: auc, the share of pairs in the right order.
    """

    def __init__(
        self,
        temperature: float = 0.01,
        similarity: Similarity = "cos",
        reduction: Literal["mean", "sum"] = "mean",
    ) -> None:
        super().__init__()
        self.temperature, self.reduction = temperature, reduction
        self.similarity: Similarity = similarity

    def columns(self, e: Embeddings) -> int:
        return columns("q-d", len(e), e.positive.shape[1], e.negative.shape[1])

    def forward(self, e: Embeddings, rows: Tensor) -> LossOut:
        pool = Pool(e, torch.arange(len(e), device=rows.device), self.similarity, Rules())
        candidates = pool.candidates("q-d")
        kept = candidates.is_negative
        positive = pool.positive[rows] / self.temperature  # [m, P]
        negative = (candidates.similarities / self.temperature).masked_fill(~kept, -torch.inf).flatten()
        count = kept.sum()
        total: Tensor = PairSums.apply(positive.flatten(), negative)
        value = total.view_as(positive).mean(1)
        if self.reduction == "mean":
            value = value / count.clamp_min(1)
        metrics = similarity_metrics(candidates)
        below = torch.searchsorted(negative.detach().sort().values, positive.detach()) - (kept.numel() - count)
        metrics["auc"] = (below / count).mean()
        return LossOut(value, example_weight(e, rows) * (count > 0), metrics)
