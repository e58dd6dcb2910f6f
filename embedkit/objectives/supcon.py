"""Supervised contrastive learning over all views of a batch."""

from __future__ import annotations

import torch
from torch import Tensor

from embedkit.errors import DataError
from embedkit.objectives.base import Objective, example_weight, mean_where
from embedkit.objectives.logits import log_sum_exp, products, same_text, unit
from embedkit.types import Embeddings, LossOut


class SupCon(Objective):
    """SupCon (arXiv 2004.11362) as SupCL-Seq uses it (arXiv 2109.07424).

    Views are the query and its positives, V = 1 + P per example. For view a, with cosines c and temperature t::

        loss_a = -(t / base) mean over its positives b of [ c_ab / t - log sum over all other views j of e^(c_aj / t) ]

    Positives of a view are all other views of the same label, of the same example, and of texts known to match;
    negatives are the rest. The row's loss is the mean over its views. A view without a positive counts nothing: with
    one view per example, a label that stands alone in the batch.

    Args:
        temperature: t.
        base_temperature: base; None leaves the factor out.
        labels: whether examples of one label are positives of each other.

    Raises:
        DataError: no labels although `labels` is set, no positive anywhere without them, or explicit negatives.
    """

    def __init__(self, temperature: float = 0.05, base_temperature: float | None = 0.07, labels: bool = True) -> None:
        super().__init__()
        self.temperature, self.labels = temperature, labels
        self.factor = 1.0 if base_temperature is None else temperature / base_temperature

    def columns(self, e: Embeddings) -> int:
        views = 1 + e.positive.shape[1]
        return views * views * len(e)

    def forward(self, e: Embeddings, rows: Tensor) -> LossOut:
        self._check(e)
        n, views = len(e), 1 + e.positive.shape[1]
        vectors = unit(torch.cat([e.query[:, None], e.positive], dim=1))  # [N, V, d]
        cosine = products(vectors[rows].flatten(0, 1), vectors.flatten(0, 1))  # [m V, N V]
        place = torch.arange(n * views, device=rows.device).view(n, views)
        other = place[rows].flatten()[:, None] != place.flatten()
        attract = self._attract(e, rows).repeat_interleave(views, 0).repeat_interleave(views, 1) & other
        log_p = cosine / self.temperature - log_sum_exp(cosine / self.temperature, other)[:, None]
        count = attract.sum(1)
        loss = -self.factor * log_p.masked_fill(~attract, 0.0).sum(1) / count.clamp_min(1)
        loss, has = loss.view(-1, views), (count > 0).to(loss.dtype).view(-1, views)
        metrics = {
            "positive_similarity": mean_where(cosine.detach(), attract),
            "positives": count.to(cosine.dtype).mean(),
        }
        return LossOut(loss.sum(1) / has.sum(1).clamp_min(1.0), example_weight(e, rows) * has.mean(1), metrics)

    def _attract(self, e: Embeddings, rows: Tensor) -> Tensor:
        """[m, N] examples whose views are positives of the row's views; its own among them."""
        texts = torch.cat([e.query_id[:, None], e.positive_id], dim=1)
        attract = same_text(torch.cat([texts, e.known_id], dim=1)[rows], texts)
        attract |= rows[:, None] == torch.arange(len(e), device=rows.device)
        if self.labels and e.label is not None:
            attract |= e.label[rows, None] == e.label
        return attract

    def _check(self, e: Embeddings) -> None:
        if self.labels and e.label is None:
            raise DataError(
                "objective 'supcon' needs labels",
                where="label",
                cure="name the label column in roles, or set labels: false",
            )
        if not self.labels and e.positive.shape[1] == 0:
            raise DataError(
                "objective 'supcon' without labels needs a positive",
                where="positive",
                cure="give the source a positive column, or use role `text` and views.count 2 or more",
            )
        if e.negative.shape[1]:
            raise DataError(
                "objective 'supcon' has no place for explicit negatives",
                where="negative",
                cure="set negatives.per_query: 0",
            )
