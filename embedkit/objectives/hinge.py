"""The energy-based hinge of PromCSE."""

from __future__ import annotations

import torch
from torch import Tensor

from embedkit.objectives.base import Objective, example_weight
from embedkit.objectives.contrastive import similarity_metrics
from embedkit.objectives.logits import Pool, Rules
from embedkit.recipe.objectives.contrastive import columns
from embedkit.types import Embeddings, LossOut


class EnergyHinge(Objective):
    """``mean_k max(0, margin + max over negatives j of cos(q_i, n_j) - cos(q_i, p_ik))`` (arXiv 2203.06875, eq. 11).

    Negatives are the documents of other rows and the row's own explicit ones, as in InfoNCE with direction q-d;
    documents whose text is known to match are none. PromCSE adds 10 times this to its supervised loss::

        objective: {name: sum, terms: [{objective: infonce}, {weight: 10, objective: energy_hinge}]}

    A row without any negative has weight 0.

    Args:
        margin: in cosines.
    """

    def __init__(self, margin: float = 0.2) -> None:
        super().__init__()
        self.margin = margin

    def columns(self, e: Embeddings) -> int:
        return columns("q-d", len(e), e.positive.shape[1], e.negative.shape[1])

    def forward(self, e: Embeddings, rows: Tensor) -> LossOut:
        candidates = Pool(e, rows, "cos", Rules()).candidates("q-d")
        hardest = candidates.similarities.masked_fill(~candidates.is_negative, -torch.inf).amax(1, keepdim=True)
        has = ~hardest.isneginf()
        violation = (self.margin + hardest - candidates.positive).masked_fill(~has, 0.0).relu()
        metrics = similarity_metrics(candidates)
        metrics["violations"] = (violation.detach() > 0).to(violation.dtype).mean()
        return LossOut(violation.mean(1), example_weight(e, rows) * has.squeeze(1), metrics)
