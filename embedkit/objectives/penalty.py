"""InfoNCE with a penalty on negatives that leave their own queries."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import Tensor

from embedkit.errors import DataError
from embedkit.objectives.contrastive import InfoNCE
from embedkit.objectives.logits import unit
from embedkit.types import Embeddings, LossOut


class CLP(InfoNCE):
    """``(1 - penalty) InfoNCE + penalty mean_k (1 - cos(nq_k, n_k))`` (arXiv 2412.17364).

    nq_k is a query that the hard negative n_k answers. The row's negatives come in twos: n_1, nq_1, n_2, nq_2, ...;
    the nq are candidates of no one. The printed formula has another sign, which would reward the distance; this is the
    authors' code, for batches of any size. A row without hard negatives has no penalty.

    Args:
        penalty: share of the second term.
        options: those of InfoNCE.

    Raises:
        DataError: the negatives are not in twos.
    """

    def __init__(self, penalty: float = 0.1, **options: Any) -> None:
        super().__init__(**options)
        self.penalty = penalty

    def columns(self, e: Embeddings) -> int:
        return super().columns(_without_queries(e))

    def forward(self, e: Embeddings, rows: Tensor) -> LossOut:
        m = e.negative.shape[1]
        if m == 0 or m % 2:
            raise DataError(
                f"objective 'clp' takes negatives in twos, each with its query behind it; the batch has {m} per row",
                where="negative",
                cure="write `negative: [text, its query, ...]`, and set negatives.per_query to the length of the list",
            )
        out = super().forward(_without_queries(e), rows)
        both = e.negative_mask[rows, ::2] & e.negative_mask[rows, 1::2]
        distance = 1 - (unit(e.negative[rows, ::2]) * unit(e.negative[rows, 1::2])).sum(2)
        apart = distance.masked_fill(~both, 0.0).sum(1) / both.sum(1).clamp_min(1)
        value = (1 - self.penalty) * out.value + self.penalty * apart
        return replace(out, value=value, metrics={**out.metrics, "negative_distance": apart.detach().mean()})


def _without_queries(e: Embeddings) -> Embeddings:
    """The batch with its hard negatives alone."""
    return replace(
        e,
        negative=e.negative[:, ::2],
        negative_mask=e.negative_mask[:, ::2],
        negative_id=e.negative_id[:, ::2],
        guide=None if e.guide is None else _without_queries(e.guide),
    )
