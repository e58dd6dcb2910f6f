"""Core-tuning's focal contrastive loss."""

from __future__ import annotations

import torch
from torch import Tensor

from embedkit.objectives.base import Objective, example_weight, mean_where
from embedkit.objectives.logits import log_sum_exp
from embedkit.objectives.views import Views, needs_labels, no_negatives
from embedkit.types import Embeddings, LossOut


class CoreTuning(Objective):
    """The contrastive part of Core-tuning (arXiv 2102.06605): SupCon whose positives weigh by how far they are.

    Over all views, with p the softmax of cosines / t over all other views::

        loss_a = -mean over its positives b of (1 - p_ab)^focus log p_ab

    Gradient flows through the weight. Positives are the views of its label, of its example and of texts known to match.
    The released code divides by the batch's size in the place of the number of positives, so that rare classes hardly
    count; here it is the mean, as in SupCon. Its mixing of features is not part of it: its search for the farthest
    positive returns negatives, and "hard" negatives there are drawn at random. A view without a positive counts
    nothing.

    Args:
        temperature: t.
        focus: exponent; 0 is SupCon.

    Raises:
        DataError: no labels, or explicit negatives.
    """

    def __init__(self, temperature: float = 0.07, focus: float = 1.0) -> None:
        super().__init__()
        self.temperature, self.focus = temperature, focus

    def columns(self, e: Embeddings) -> int:
        views = 1 + e.positive.shape[1]
        return views * views * len(e)

    def forward(self, e: Embeddings, rows: Tensor) -> LossOut:
        no_negatives(e, "core_tuning")
        views = Views(e, rows)
        positive = views.alike(needs_labels(e, "core_tuning")) & views.other
        logits = views.cosine / self.temperature
        log_p = (logits - log_sum_exp(logits, views.other)[:, None]).masked_fill(~positive, -1.0)
        weight = (-torch.expm1(log_p)).clamp_min(torch.finfo(log_p.dtype).tiny).pow(self.focus)
        count = positive.sum(1)
        loss = -(weight * log_p).masked_fill(~positive, 0.0).sum(1) / count.clamp_min(1)
        value, share = views.mean(loss, count > 0)
        metrics = {
            "positive_similarity": mean_where(views.cosine.detach(), positive),
            "positives": count.to(loss.dtype).mean(),
            "focal_weight": mean_where(weight.detach(), positive),
        }
        return LossOut(value, example_weight(e, rows) * share, metrics)
