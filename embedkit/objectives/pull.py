"""Two views of a text drawn towards each other, with nothing that holds texts apart."""

from __future__ import annotations

from torch import Tensor

from embedkit.objectives.base import Objective, example_weight
from embedkit.objectives.logits import unit
from embedkit.objectives.views import needs_positives, no_negatives
from embedkit.types import Embeddings, LossOut


class CosinePull(Objective):
    """The contrastive term of Demo-tuning (arXiv 2204.04392), which has no negatives::

        loss_i = -2 weight mean over its positives p of cos(q_i, p)

    There the two views are one prompt with trained and one with sampled demonstrations. Both sides have gradient. The
    released code takes the first text's second view for all texts and divides a column by a row; this is what was
    meant. Alone it draws all texts into one point.

    Args:
        weight: lambda.

    Raises:
        DataError: the batch has no positives, or explicit negatives.
    """

    def __init__(self, weight: float = 0.01) -> None:
        super().__init__()
        self.weight = weight

    def columns(self, e: Embeddings) -> int:
        return e.positive.shape[1]

    def forward(self, e: Embeddings, rows: Tensor) -> LossOut:
        needs_positives(e, "cosine_pull")
        no_negatives(e, "cosine_pull")
        cosine = (unit(e.query[rows])[:, None] * unit(e.positive[rows])).sum(-1).mean(1)
        return LossOut(
            -2 * self.weight * cosine, example_weight(e, rows), {"positive_similarity": cosine.detach().mean()}
        )
