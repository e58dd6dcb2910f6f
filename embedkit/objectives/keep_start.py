"""The batch's similarities as the model had them when training began: a loss against forgetting."""

from __future__ import annotations

import torch
from torch import Tensor

from embedkit.objectives.base import Objective, copied, example_weight
from embedkit.objectives.logits import products, unit
from embedkit.types import PAD_ID, Embeddings, LossOut


class KeepStart(Objective):
    """Each query's similarities with the texts of the batch follow those of the model that training started from::

        loss_i = T^2 * - sum_j softmax_j(c'_ij / (t T)) log softmax_j(c_ij / (t T))

    c are cosines of query i with document j, c' the same by a copy of the encoder that stays as it was: ProGrad's
    general loss (arXiv 2205.14865), with the batch's documents in the place of its classes. As in the authors' code it
    is a cross-entropy, the divergence plus the entropy of the copy's distribution, which does not change. Documents
    are all positives and explicit negatives; where there are none, the other queries. Nothing is masked: what the copy
    finds close, known to match or not, stays close.

    It only holds on, and is a term of a `sum` with the objective that teaches; `train.prograd` uses it by itself.

    Args:
        temperature: t.
        softening: T.

    Raises:
        RecipeError: the step has no copy of the encoder.
    """

    def __init__(self, temperature: float = 0.05, softening: float = 1.0) -> None:
        super().__init__()
        self.temperature, self.softening = temperature, softening

    def columns(self, e: Embeddings) -> int:
        return len(e) * max(1, e.positive.shape[1] + e.negative.shape[1])

    def forward(self, e: Embeddings, rows: Tensor) -> LossOut:
        start = copied(e, "keep_start")
        exists = _exists(e, rows)
        scale = self.temperature * self.softening
        logits = products(unit(e.query)[rows], _documents(e)) / scale
        wanted = products(unit(start.query.detach())[rows], _documents(start).detach()).to(logits) / scale
        value = self.softening**2 * softened_cross_entropy(logits, wanted, exists)
        same = logits.detach().masked_fill(~exists, -torch.inf).argmax(1)
        kept = (same == wanted.masked_fill(~exists, -torch.inf).argmax(1)).to(logits.dtype).mean()
        return LossOut(value, example_weight(e, rows) * exists.any(1), {"nearest_kept": kept})


def softened_cross_entropy(logits: Tensor, teacher: Tensor, exists: Tensor | None = None) -> Tensor:
    """[m] cross-entropy of softmax(logits) with softmax(teacher), both [m, C], over the columns that exist [m, C]."""
    if exists is not None:
        none = ~exists & exists.any(1, keepdim=True)
        logits, teacher = logits.masked_fill(none, -torch.inf), teacher.masked_fill(none, -torch.inf)
    share = teacher.softmax(1)
    return -(share * logits.log_softmax(1).masked_fill(share == 0, 0.0)).sum(1)


def _documents(e: Embeddings) -> Tensor:
    """[C, d] all positives, then all negatives, of length 1; the queries where there are neither."""
    found = torch.cat([e.positive.flatten(0, 1), e.negative.flatten(0, 1)])
    return unit(found if len(found) else e.query)


def _exists(e: Embeddings, rows: Tensor) -> Tensor:
    """[m, C] which columns of `_documents` take part: no text, and not the query itself."""
    ids = torch.cat([e.positive_id.flatten(), e.negative_id.flatten()])
    if len(ids):
        return (ids != PAD_ID)[None].expand(len(rows), -1)
    return torch.arange(len(e), device=rows.device)[None] != rows[:, None]
