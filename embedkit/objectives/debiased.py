"""Debiased contrastive learning, and hard negatives by importance weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from embedkit.objectives.base import Objective, example_weight
from embedkit.objectives.contrastive import similarity_metrics
from embedkit.objectives.logits import Candidates, Pool, Rules, log_sum_exp
from embedkit.recipe.objectives.contrastive import Direction, columns, softmaxes
from embedkit.types import Embeddings, LossOut


def log_estimate(mean: Tensor, positive: Tensor, tau_plus: float, temperature: float) -> tuple[Tensor, Tensor]:
    """Log of ``max{ (e^mean - tau_plus e^positive) / (1 - tau_plus), e^(-1 / temperature) }``, and where it is cut off.

    Nothing is exponentiated but differences, so no temperature overflows. Where the second entry is taken the
    gradient with respect to both arguments is zero.

    Args:
        mean: log of the mean exponential of the negatives' logits.
        positive: the positive's logit; the shapes broadcast.
        tau_plus: in 0..1; 0 gives `mean` wherever it is above the floor.
        temperature: of the logits, which are cosines / temperature.
    """
    floor = -1.0 / temperature
    if tau_plus == 0:
        return mean.expand_as(positive), torch.zeros_like(positive, dtype=torch.bool)
    ratio = math.log(tau_plus) + positive - mean
    above = ratio < 0
    corrected = mean + torch.log(-torch.expm1(torch.where(above, ratio, -1.0))) - math.log1p(-tau_plus)
    cut = ~above | (corrected <= floor)
    return torch.where(cut, floor, corrected), cut


class Debiased(Objective):
    """InfoNCE whose negatives' share is corrected for the matches among them (arXiv 2007.00224; HCL arXiv 2010.04592).

    For an anchor with positive logit p and M negatives of logits s_j, all cosines / t::

        mu     = mean_j w_j e^(s_j)           w_j = e^(beta s_j) / mean_j e^(beta s_j)
        g      = max{ (mu - tau_plus e^p) / (1 - tau_plus), e^(-1 / t) }
        loss   = -log [ e^p / (e^p + M g) ]

    beta 0 is the debiased loss, beta above 0 HCL, tau_plus 0 with beta 0 InfoNCE. beta multiplies logits, which are
    divided by t already: at t = 0.05, beta 1 weighs by e^(20 cos). Gradient flows through w unless `detach_weights`.

    The estimate g saturates: where a positive's cosine is above the log-mean-exp of its negatives (as a cosine) by
    more than ``t log(1 / tau_plus)`` the floor is taken, its negatives get no gradient and the loss is almost zero.
    That is 1.15 at t 0.5 and tau_plus 0.1, but 0.115 at t 0.05. The metric `saturated` is the share of such terms.

    Negatives are those of InfoNCE; the row's loss is the mean over its positives and anchors. A row without any
    negative has weight 0.

    Args:
        temperature: t.
        tau_plus: probability that a random candidate is a match.
        beta: sharpness of the weights.
        detach_weights: take w as constants.
        directions: of the candidates; those of a query and those of a document have a loss each.
    """

    def __init__(
        self,
        temperature: float = 0.5,
        tau_plus: float = 0.1,
        beta: float = 0.0,
        detach_weights: bool = False,
        directions: Sequence[Direction] = ("q-d",),
    ) -> None:
        super().__init__()
        self.temperature, self.tau_plus = temperature, tau_plus
        self.beta, self.detach_weights = beta, detach_weights
        self.groups = softmaxes(directions, "per_direction")

    def columns(self, e: Embeddings) -> int:
        n, p, m = len(e), e.positive.shape[1], e.negative.shape[1]
        return sum(columns(d, n, p, m) for group in self.groups for d in group)

    def forward(self, e: Embeddings, rows: Tensor) -> LossOut:
        pool = Pool(e, rows, "cos", Rules())
        positive = pool.positive / self.temperature  # [m, P]
        losses, counted, cut = [], [], []
        metrics: dict[str, Any] = {}
        for group in self.groups:
            candidates = [pool.candidates(direction) for direction in group]
            metrics = metrics or similarity_metrics(candidates[0])
            mean, count = (t.view(len(rows), -1) for t in self._mean(candidates))  # [m, 1 or P]
            estimate, floored = log_estimate(mean, positive, self.tau_plus, self.temperature)
            gap = count.log() + estimate - positive
            losses.append(torch.logaddexp(torch.zeros_like(gap), gap))
            counted.append((count > 0).expand_as(positive))
            cut.append(floored & counted[-1])
        has = torch.cat(counted, 1)
        metrics["saturated"] = torch.cat(cut, 1).sum() / has.sum().clamp_min(1)
        return LossOut(torch.cat(losses, 1).mean(1), example_weight(e, rows) * has.any(1), metrics)

    def _mean(self, group: list[Candidates]) -> tuple[Tensor, Tensor]:
        """[a] log of the weighted mean exponential over the negatives, 0 where there is none; [a] their number."""
        logits = torch.cat([c.similarities for c in group], 1) / self.temperature
        mask = torch.cat([c.is_negative for c in group], 1)
        count = mask.sum(1).to(logits.dtype)
        pull = self.beta * (logits.detach() if self.detach_weights else logits)
        mean = log_sum_exp(logits + pull, mask) - (log_sum_exp(pull, mask) if self.beta else count.log())
        return torch.where(count > 0, mean, 0.0), count
