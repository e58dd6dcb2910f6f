"""The FLOPS term: coordinates that are active in few texts make short lists in an inverted index."""

from __future__ import annotations

import torch
from torch import Tensor

from embedkit.errors import DataError
from embedkit.objectives.base import Objective, upcast
from embedkit.types import Embeddings, LossOut


def flops(x: Tensor, weight: Tensor | None = None) -> Tensor:
    """``sum_j (sum_i w_i |x_ij| / sum_i w_i)^2``, a scalar.

    Args:
        x: [n, d].
        weight: [n], not negative; all ones when None.
    """
    size = upcast(x).abs()
    if weight is None:
        return size.mean(0).square().sum()
    share = weight.to(size) / weight.sum().clamp_min(torch.finfo(size.dtype).tiny).to(size)
    return (share[:, None] * size).sum(0).square().sum()


class Flops(Objective):
    """``k(t) (query * flops(Q) + document * flops(D))`` with Q [N, d] the queries and D all documents of the batch.

    ``flops(X) = sum_j (mean_i |x_ij|)^2`` bounds, smoothly, the products that scoring a query costs in an inverted
    index (arXiv 2004.05665, eq. 4); SPLADE (arXiv 2107.05720, 2109.10086) puts it beside its ranking loss, with factors
    that grow with the square of the step, ``k(t) = min(1, t / warmup)^2``. The mean runs over the global batch. A row's
    weight is that of its query and of each of its documents; missing negatives count nowhere.

    Metrics: flops_query, flops_document without factors, and active_query, active_document, the coordinates of a text
    that are not zero.

    Args:
        query, document: factors; a side whose factor is 0 is left out.
        warmup: batches until the factors are whole; 0: at once.

    Raises:
        DataError: documents are asked for and the batch has no positives.
    """

    scope = "batch"

    def __init__(self, query: float = 3e-4, document: float = 1e-4, warmup: int = 0) -> None:
        super().__init__()
        self.query, self.document, self.warmup = query, document, warmup

    def forward(self, e: Embeddings, rows: Tensor) -> LossOut:
        grown = min(1.0, e.step / self.warmup) ** 2 if self.warmup else 1.0
        weight = None if e.weight is None else upcast(e.weight.detach())
        value = upcast(e.query[:0]).sum()
        metrics: dict[str, Tensor | float] = {}
        for side, factor in (("query", self.query), ("document", self.document)):
            if not factor:
                continue
            texts, there, own = (e.query, None, weight) if side == "query" else _documents(e, weight)
            found = flops(texts, own)
            value = value + grown * factor * found
            metrics |= {f"flops_{side}": found.detach(), f"active_{side}": _active(texts, there)}
        return LossOut(value, None, metrics)


def _documents(e: Embeddings, weight: Tensor | None) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """[n, d] positives and explicit negatives, [n] whether they are there (None: all), [n] their weights.

    Those that are missing, rows of 0, weigh 0 instead of being left out, so that nothing waits for the mask.
    """
    if e.positive.shape[1] == 0:
        raise DataError(
            "objective 'flops' has no documents to keep sparse",
            where="positive",
            cure="give the source a positive column, or set document: 0",
        )
    if e.negative.shape[1] == 0:
        own = None if weight is None else weight[:, None].expand(e.positive.shape[:2]).flatten()
        return e.positive.flatten(0, 1), None, own
    texts = torch.cat([e.positive, e.negative], 1).flatten(0, 1)
    there = torch.cat([torch.ones_like(e.positive_id, dtype=torch.bool), e.negative_mask], 1)
    own = there if weight is None else there * weight[:, None]
    return texts, there.flatten(), own.flatten()


def _active(x: Tensor, there: Tensor | None) -> Tensor:
    """Coordinates of a text that are not 0; those of missing texts all are."""
    count = (x.detach() != 0).sum(1).double().sum()
    return count / (len(x) if there is None else there.sum())
