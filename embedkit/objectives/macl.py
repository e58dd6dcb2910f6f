"""Model-aware contrastive learning: a temperature that follows the alignment, rows reweighted to undo its effect."""

from __future__ import annotations

import torch
from torch import Tensor

from embedkit.errors import TrainingError
from embedkit.objectives.base import Objective, example_weight
from embedkit.objectives.contrastive import similarity_metrics
from embedkit.objectives.logits import Pool, Rules, log_sum_exp
from embedkit.recipe.objectives.contrastive import columns
from embedkit.types import Embeddings, LossOut


class MACL(Objective):
    """MACL (arXiv 2207.07874). With A the mean cosine of all positive pairs of the global batch, a constant::

        t = tau0 (1 + alpha (A - a0))
        P_i = e^(s_ii / t) / (e^(s_ii / t) + sum over negatives j of e^(s_ij / t))
        loss_i = sg(1 / (1 - P_i)) (-log P_i)

    sg is stop-gradient. Written as the code above, ``1 / (1 - P)`` overflows where P rounds to 1, common at small
    temperatures. Let ``g_i = log sum_j e^(s_ij / t) - s_ii / t``, so that ``-log P = log(1 + e^g)`` and
    ``1 - P = sigmoid(g)``: the derivative of the loss by g is exactly 1, and its value is ``x / (1 - e^-x)`` with
    ``x = -log P``, which tends to 1. That form is used here and needs no epsilon. The loss is at least 1, so its
    curve cannot be compared with InfoNCE's.

    Several positives of a row are averaged, and all count in A. A row without any negative has weight 0.

    Args:
        tau0: temperature where A = a0.
        alpha: how far the temperature follows A.
        a0: alignment that leaves the temperature alone. The sentence settings of alpha and a0 are not published.

    Raises:
        TrainingError: A is so low that the temperature is not positive.
    """

    def __init__(self, tau0: float = 0.05, alpha: float = 0.5, a0: float = 0.0) -> None:
        super().__init__()
        self.tau0, self.alpha, self.a0 = tau0, alpha, a0

    def columns(self, e: Embeddings) -> int:
        return columns("q-d", len(e), e.positive.shape[1], e.negative.shape[1])

    def forward(self, e: Embeddings, rows: Tensor) -> LossOut:
        pool = Pool(e, rows, "cos", Rules())
        alignment = pool.sides.alignment()
        temperature = self._temperature(alignment)
        candidates = pool.candidates("q-d")
        negatives = log_sum_exp(candidates.similarities / temperature, candidates.is_negative)
        gap = negatives[:, None] - candidates.positive / temperature  # [m, P]
        has = ~gap.isneginf()
        gap = gap.masked_fill(~has, 0.0)
        surprise = torch.nn.functional.softplus(gap.detach()).clamp_min(torch.finfo(gap.dtype).tiny)
        value = gap + (surprise / -torch.expm1(-surprise) - gap.detach())
        metrics = similarity_metrics(candidates) | {"alignment": alignment, "temperature": temperature}
        return LossOut(value.mean(1), example_weight(e, rows) * has.all(1), metrics)

    def _temperature(self, alignment: Tensor) -> Tensor:
        temperature = self.tau0 * (1 + self.alpha * (alignment - self.a0))
        if not bool(temperature > 0):
            raise TrainingError(
                f"the temperature of macl fell to {temperature:.3g} at a mean positive cosine of {alignment:.3g}",
                where="objective",
                cure="lower alpha or a0",
            )
        return temperature
