"""Contrast of texts that have a number each: what is near in the number is near in the space."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from embedkit.objectives.base import Objective, example_weight, mean_where, targets, upcast
from embedkit.objectives.layers import linear
from embedkit.objectives.logits import log_sum_exp, products
from embedkit.objectives.views import Views, no_negatives
from embedkit.types import Embeddings, LossOut

_MIX = 0x5C
"""Tag of the random numbers of mixtures."""


class ConR(Objective):
    """ConR (ICLR 2024) beside the regression that it regularises: ``|y - h| + weight * contrast``.

    h is a linear function of the embedding as it is, trained with it and saved with the objective. With views z as unit
    vectors, ``s = cos / t``, and h as a constant::

        positives of i: |y_i - y_j| <= window;   negatives: |y_i - y_j| > window and |h_i - h_j| <= window
        contrast_i = mean over positives of -log [ e^s_ip / ( sum_pos e^s_ij + sum_neg w_ij e^s_ij ) ]
        w_ij = (weight of example i) * e^(steepness |y_i - y_j|)

    0 for an anchor without a negative or a positive. The released code multiplies logits by a mask before the
    exponential, so that everything that is no positive, the anchor itself too, adds e^0 to the denominator; here, as it
    was meant, nothing else is in it.

    Args:
        temperature: t.
        window: see above.
        steepness: of the negatives' weights.
        weight: of the contrast.
        error: absolute or squared, of the regression.

    Raises:
        DataError: not one score per example, or explicit negatives.
    """

    def __init__(
        self,
        temperature: float = 0.07,
        window: float = 1.0,
        steepness: float = 0.01,
        weight: float = 4.0,
        error: Literal["absolute", "squared"] = "absolute",
    ) -> None:
        super().__init__()
        self.temperature, self.window, self.steepness, self.weight = temperature, window, steepness, weight
        self.squared = error == "squared"

    def setup(self, dim: int, seed: int) -> None:
        self.regression = linear(dim, 1, torch.Generator().manual_seed(seed), bias=True)

    def columns(self, e: Embeddings) -> int:
        views = 1 + e.positive.shape[1]
        return views * views * len(e)

    def forward(self, e: Embeddings, rows: Tensor) -> LossOut:
        score = targets(e, "conr")
        with torch.autocast(e.query.device.type, enabled=False):
            said = self.regression(upcast(torch.cat([e.query[:, None], e.positive], dim=1)))[..., 0]  # [N, V]
        error = said[rows] - score[rows]
        contrast, metrics = self.contrast(e, rows, said.detach())
        value = (error.square() if self.squared else error.abs()).mean(1) + self.weight * contrast
        return LossOut(value, example_weight(e, rows), {"error": error.detach().abs().mean(), **metrics})

    def contrast(self, e: Embeddings, rows: Tensor, said: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """[m] the contrastive term of the rows, and metrics.

        Args:
            e, rows: as of `forward`.
            said: [N, V] what the regression says of every view, a constant.
        """
        no_negatives(e, "conr")
        views = Views(e, rows)
        score = targets(e, "conr")[:, 0].to(views.cosine.dtype)
        gap = views.spread((score[rows, None] - score).abs())
        near = gap <= self.window
        confused = (said[rows].reshape(-1, 1) - said.reshape(1, -1)).abs() <= self.window
        positive, negative = near & views.other, ~near & confused
        logits = views.cosine / self.temperature
        log_weight = example_weight(e, rows).clamp_min(torch.finfo(logits.dtype).tiny).log()
        pushed = logits + self.steepness * gap + log_weight.repeat_interleave(views.count)[:, None]
        total = log_sum_exp(torch.where(negative, pushed, logits), positive | negative)
        count = positive.sum(1)
        counts = (count > 0) & negative.any(1)
        pulled = logits.masked_fill(~positive, 0.0).sum(1) / count.clamp_min(1)
        loss = torch.where(counts, torch.where(counts, total, 0.0) - pulled, 0.0)
        metrics = {
            "positives": count.to(loss.dtype).mean(),
            "negatives": negative.sum(1).to(loss.dtype).mean(),
            "positive_similarity": mean_where(views.cosine.detach(), positive),
        }
        return loss.view(-1, views.count).mean(1), metrics


@dataclass(frozen=True)
class Side:
    """What the anchors [a] find among the texts, or among the mixtures.

    Attributes:
        total: log of the sum of weighted exponentials; -inf where there is none.
        pulled: sum of the logits of the positives.
        count: positives.
    """

    total: Tensor
    pulled: Tensor
    count: Tensor


class SupReMix(Objective):
    """SupReMix (arXiv 2309.16633): contrast by the distance of numbers, with mixtures that are hard.

    Anchors r and texts a are the views as unit vectors z with the numbers y, ``x = z_r z_a / t``::

        loss_r = -mean over P_r of [ x_rp - log sum over all others and mixtures a of D(|y_r - y_a|) e^x_ra ]
        D(g) = 1 + g, or 1 + g^2

    P_r are the texts of the same number and the positive mixtures. Mixtures are constants, not brought to length 1:

    - negative, of the anchor and each text k of another number: ``alpha z_r + (1 - alpha) z_k``, the numbers alike
    - positive, of each j below and k above, both nearer than `window`: the mixture whose number is the anchor's

    The released code shifts the logits of texts and of mixtures by maxima of their own and then adds them, which is no
    softmax any more; here they have one. Its trainer for texts never switches mixing on. alpha is drawn once for each
    anchor (ours; where the code draws it is not stated). A view without a positive counts nothing.

    Args:
        temperature: t.
        distance: absolute: D(g) = 1 + g; squared: 1 + g^2.
        mix: whether there are mixtures.
        window: see above.
        alpha: parameters of the Beta distribution of alpha.
        bins: numbers are rounded to multiples of this.

    Raises:
        DataError: not one score per example, or explicit negatives.
    """

    def __init__(
        self,
        temperature: float = 0.1,
        distance: Literal["absolute", "squared"] = "absolute",
        mix: bool = True,
        window: float = 1.0,
        alpha: tuple[float, float] = (2.0, 8.0),
        bins: float | None = None,
    ) -> None:
        super().__init__()
        self.temperature, self.mix, self.window, self.alpha, self.bins = temperature, mix, window, alpha, bins
        self.squared = distance == "squared"

    def columns(self, e: Embeddings) -> int:
        views = 1 + e.positive.shape[1]
        every = views * len(e)
        return views * (every * (every + 2) if self.mix else every)

    def draw(self, e: Embeddings) -> Tensor:
        """[N, V] shares of the anchors in their negative mixtures, by the step and the place alone."""
        rng = np.random.default_rng([_MIX, e.step])
        drawn = torch.from_numpy(rng.beta(*self.alpha, (len(e), 1 + e.positive.shape[1])))
        return drawn.to(e.query.device, upcast(e.query.detach()[:0]).dtype)

    def forward(self, e: Embeddings, rows: Tensor) -> LossOut:
        no_negatives(e, "supremix")
        views = Views(e, rows)
        gap = self._gap(e, views)
        sides = self.sides(e, views, gap)
        total = torch.stack([side.total for side in sides], dim=1)
        total = log_sum_exp(total, ~total.isneginf())
        pulled, count = sum(side.pulled for side in sides), sum(side.count for side in sides)
        assert isinstance(pulled, Tensor) and isinstance(count, Tensor)
        counts = count > 0
        loss = torch.where(counts, total - pulled / count.clamp_min(1), 0.0)
        value, share = views.mean(torch.where(total.isneginf(), 0.0, loss), counts)
        metrics = {
            "positives": count.to(loss.dtype).mean(),
            "positive_similarity": mean_where(views.cosine.detach(), (gap == 0) & views.other),
        }
        return LossOut(value, example_weight(e, rows) * share, metrics)

    def sides(self, e: Embeddings, views: Views, gap: Tensor) -> list[Side]:
        """The texts, and the mixtures where there are some.

        Args:
            e: the global batch.
            views: of the rows to answer for.
            gap: [a, C] number of the anchor less that of the text.
        """
        logits = views.cosine / self.temperature
        positive = (gap == 0) & views.other
        total = log_sum_exp(logits + self._log_weight(gap.abs()), views.other)
        texts = Side(total, logits.masked_fill(~positive, 0.0).sum(1), positive.sum(1))
        return [texts, self._mixtures(views, gap, self.draw(e)[views.rows].reshape(-1, 1))] if self.mix else [texts]

    def _gap(self, e: Embeddings, views: Views) -> Tensor:
        score = targets(e, "supremix")[:, 0].to(views.cosine.dtype)
        if self.bins is not None:
            score = (score / self.bins).round() * self.bins
        return views.spread(score[views.rows, None] - score)

    def _log_weight(self, gap: Tensor) -> Tensor:
        return torch.log1p(gap.square() if self.squared else gap)

    def _mixtures(self, views: Views, gap: Tensor, alpha: Tensor) -> Side:
        """The logit of a mixture is the mixture of logits, so no mixture is ever made.

        Args:
            views: of the rows.
            gap: [a, C] number of the anchor less that of the text.
            alpha: [a, 1] share of the anchor.
        """
        anchor, every = views.vectors[views.rows].flatten(0, 1), views.vectors.flatten(0, 1)
        logits = products(anchor, every.detach()) / self.temperature
        own = (anchor * anchor.detach()).sum(1, keepdim=True) / self.temperature
        negative = alpha * own + (1 - alpha) * logits + self._log_weight((1 - alpha) * gap.abs())
        below, above = (gap > 0) & (gap < self.window), (gap < 0) & (-gap < self.window)
        both = below[:, :, None] & above[:, None]  # [a, C, C]
        share = -gap[:, None] / torch.where(both, gap[:, :, None] - gap[:, None], 1.0)
        positive = share * logits[:, :, None] + (1 - share) * logits[:, None]
        positive, both = positive.flatten(1), both.flatten(1)
        totals = torch.stack([log_sum_exp(negative, gap != 0), log_sum_exp(positive, both)], dim=1)
        total = log_sum_exp(totals, ~totals.isneginf())
        return Side(total, positive.masked_fill(~both, 0.0).sum(1), both.sum(1))
