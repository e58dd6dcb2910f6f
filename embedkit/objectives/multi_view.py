"""Contrast among more than two views of a text: MV-InfoNCE, MV-DHEL, poly-view."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from embedkit.objectives.base import Objective, example_weight, mean_where
from embedkit.objectives.logits import log_sum_exp, products
from embedkit.objectives.views import Views, itself, matching, needs_positives, no_negatives, stacked
from embedkit.types import Embeddings, LossOut


def twins(count: int, like: Tensor) -> Tensor:
    """[V, V] False on the diagonal: which of two views of one text are two."""
    return ~torch.eye(count, dtype=torch.bool, device=like.device)


class MVInfoNCE(Objective):
    """MV-InfoNCE (arXiv 2507.06979): one logarithm per text, over all its V views, the query and the positives::

        loss_i = log sum over views k, candidates (l, j) of e^(c(x_ki, x_lj) / t)
               - log sum over views k != l of e^(c(x_ki, x_li) / t)

    With `denominator` = all the candidates of a view are all other views, as the authors' code has it; with cross they
    are the views of another number, l != k, as its README writes it. With two views this is not NT-Xent, which is a sum
    of logarithms. Views of other texts known to match are no candidates; a text without any counts nothing.

    Args:
        temperature: t.
        denominator: all or cross.

    Raises:
        DataError: the batch has no positives, or explicit negatives.
    """

    def __init__(self, temperature: float = 0.5, denominator: Literal["all", "cross"] = "all") -> None:
        super().__init__()
        self.temperature, self.denominator = temperature, denominator

    def columns(self, e: Embeddings) -> int:
        return (1 + e.positive.shape[1]) ** 2 * len(e)

    def forward(self, e: Embeddings, rows: Tensor) -> LossOut:
        needs_positives(e, "mv_infonce")
        no_negatives(e, "mv_infonce")
        views, m = Views(e, rows), len(rows)
        logits = views.cosine / self.temperature
        own = views.spread(itself(e, rows)) & views.other
        negative = ~views.alike(None)
        if self.denominator == "cross":
            cross = twins(views.count, logits).repeat(m, len(e))
            negative = negative & cross
        flat = logits.view(m, -1)
        value = log_sum_exp(flat, (negative | own).view(m, -1)) - log_sum_exp(flat, own.view(m, -1))
        has = negative.view(m, -1).any(1)
        metrics = {"positive_similarity": mean_where(views.cosine.detach(), own)}
        return LossOut(value, example_weight(e, rows) * has, metrics)


class MVDHEL(Objective):
    """MV-DHEL (arXiv 2507.06979): uniformity within each view, alignment across them::

        loss_i = sum over views k of log sum over j != i of e^(c(x_ki, x_kj) / t)
               - log sum over views k < l of e^(c(x_ki, x_li) / t)

    With two views it is DHEL (arXiv 2405.18045). No text is contrasted with another view of another text: for sides
    that are unlike, questions and answers, nothing then tells answers apart for a question. Logarithms are added, where
    the authors' code multiplies sums, which overflow. Other texts known to match are left out; a text without any other
    counts nothing.

    Args:
        temperature: t.

    Raises:
        DataError: the batch has no positives, or explicit negatives.
    """

    def __init__(self, temperature: float = 0.5) -> None:
        super().__init__()
        self.temperature = temperature

    def columns(self, e: Embeddings) -> int:
        return (1 + e.positive.shape[1]) * len(e)

    def forward(self, e: Embeddings, rows: Tensor) -> LossOut:
        needs_positives(e, "mv_dhel")
        no_negatives(e, "mv_dhel")
        x, other = stacked(e), ~matching(e, rows)
        count = x.shape[1]
        pairs = torch.triu_indices(count, count, 1, device=rows.device)
        aligned = (x[rows][:, pairs[0]] * x[rows][:, pairs[1]]).sum(-1)  # [m, V (V - 1) / 2]
        energy = [log_sum_exp(products(x[rows, k], x[:, k]) / self.temperature, other) for k in range(count)]
        value = torch.stack(energy).sum(0) - torch.logsumexp(aligned / self.temperature, 1)
        has = other.any(1)
        metrics = {"positive_similarity": aligned.detach().mean()}
        return LossOut(torch.where(has, value, 0.0), example_weight(e, rows) * has, metrics)


class PolyView(Objective):
    """Poly-view contrastive loss, geometric form: the mean over ordered pairs of views k != l of a cross-entropy::

        loss_i = mean over k != l of [ log(e^(s_kl / t) + sum over j != i and v of e^(c(x_ki, x_vj) / t)) - s_kl / t ]

    with s_kl the cosine of views k and l of text i, and v any view. The anchor's other views stand in no denominator.
    This is the comparison in the code of arXiv 2507.06979 (PVCLoss, geometric); the method's own paper was not read.
    With two views it is NT-Xent. Views of other texts known to match are left out; a text without any negative counts
    nothing.

    Args:
        temperature: t.

    Raises:
        DataError: the batch has no positives, or explicit negatives.
    """

    def __init__(self, temperature: float = 0.2) -> None:
        super().__init__()
        self.temperature = temperature

    def columns(self, e: Embeddings) -> int:
        return (1 + e.positive.shape[1]) ** 2 * len(e)

    def forward(self, e: Embeddings, rows: Tensor) -> LossOut:
        needs_positives(e, "poly_view")
        no_negatives(e, "poly_view")
        views, m = Views(e, rows), len(rows)
        negative = ~views.alike(None)
        total = log_sum_exp(views.cosine / self.temperature, negative)  # [m V]
        x = views.vectors[rows]
        own = (x[:, :, None] * x[:, None]).sum(-1) / self.temperature  # [m, V, V]
        gap = total.view(m, -1, 1) - own
        pairs = twins(views.count, own)
        value = (torch.logaddexp(torch.zeros_like(gap), gap) * pairs).sum((1, 2)) / pairs.sum()
        metrics = {"positive_similarity": mean_where(own.detach() * self.temperature, pairs.expand_as(own))}
        return LossOut(value, example_weight(e, rows) * negative.view(m, -1).any(1), metrics)
