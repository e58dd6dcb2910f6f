"""Supervised contrastive learning over all views of a batch."""

from __future__ import annotations

from torch import Tensor

from embedkit.objectives.base import Objective, example_weight, mean_where
from embedkit.objectives.logits import log_sum_exp
from embedkit.objectives.views import Views, needs_labels, needs_positives, no_negatives
from embedkit.recipe.objectives.contrastive import Similarity
from embedkit.types import Embeddings, LossOut


class SupCon(Objective):
    """SupCon (arXiv 2004.11362) as SupCL-Seq (arXiv 2109.07424) and LM-SupCon (arXiv 2205.01308) use it.

    Views are the query and its positives, V = 1 + P per example. For view a, with similarities c and temperature t::

        loss_a = -(t / base) mean over its positives b of [ c_ab / t - log sum over all other views j of e^(c_aj / t) ]

    Positives of a view are all other views of the same label, of the same example, and of texts known to match;
    negatives are the rest. The row's loss is the mean over its views. A view without a positive counts nothing: with
    one view per example, a label that stands alone in the batch.

    Args:
        temperature: t.
        base_temperature: base; None leaves the factor out.
        labels: whether examples of one label are positives of each other.
        similarity: cos or dot.

    Raises:
        DataError: no labels although `labels` is set, no positive anywhere without them, or explicit negatives.
    """

    def __init__(
        self,
        temperature: float = 0.05,
        base_temperature: float | None = 0.07,
        labels: bool = True,
        similarity: Similarity = "cos",
    ) -> None:
        super().__init__()
        self.similarity: Similarity = similarity
        self.temperature, self.labels = temperature, labels
        self.factor = 1.0 if base_temperature is None else temperature / base_temperature

    def columns(self, e: Embeddings) -> int:
        views = 1 + e.positive.shape[1]
        return views * views * len(e)

    def forward(self, e: Embeddings, rows: Tensor) -> LossOut:
        labels = None
        if self.labels:
            labels = needs_labels(e, "supcon", "name the label column in roles, or set labels: false")
        else:
            needs_positives(e, "supcon without labels")
        no_negatives(e, "supcon")
        views = Views(e, rows, self.similarity)
        attract = views.alike(labels) & views.other
        logits = views.cosine / self.temperature
        log_p = logits - log_sum_exp(logits, views.other)[:, None]
        count = attract.sum(1)
        loss = -self.factor * log_p.masked_fill(~attract, 0.0).sum(1) / count.clamp_min(1)
        value, share = views.mean(loss, count > 0)
        metrics = {
            "positive_similarity": mean_where(views.cosine.detach(), attract),
            "positives": count.to(loss.dtype).mean(),
        }
        return LossOut(value, example_weight(e, rows) * share, metrics)
