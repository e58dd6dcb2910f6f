"""Pieces that reweight a softmax objective; any number of them, in any order.

A piece acts on logits (an added term, before the softmax), on rows (a factor, after it), or both. What it
returns is a constant unless the piece says otherwise.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from embedkit.errors import RecipeError
from embedkit.objectives.logits import Candidates


class Weighting(nn.Module):
    """Base of all pieces; does nothing.

    `normalize` says how row factors enter the average: ``count`` leaves the divisor alone, ``weight`` divides
    by the sum of the factors.
    """

    normalize: Literal["count", "weight"] = "count"
    over_batch = False
    """Whether `batch` has an answer, which costs the losses of all rows once more, without gradient."""

    def batch(self, losses: Tensor, every: Tensor, counted: Tensor) -> Tensor:
        """[m] constant factors of the weights of rows with these losses.

        Args:
            losses: [m] of the rows asked for.
            every: [N] of all rows of the batch.
            counted: [N] bool, which of them have a weight.
        """
        return torch.ones_like(losses)

    def logits(self, candidates: Candidates) -> Tensor | None:
        """[a, C] term added to the logits, or None. Columns that are no negatives are ignored."""
        return None

    def rows(self, log_p: Tensor) -> Tensor | None:
        """[m, T] factors of the rows' softmax terms, or None.

        Args:
            log_p: [m, T] log probability of the positive; one term per positive and softmax.
        """
        return None


class Focal(Weighting):
    """Factor ``(1 - p)^gamma`` (arXiv 1708.02002; for embeddings KaLM-V2, arXiv 2506.20923, gamma 0.5).

    Args:
        gamma: 0 changes nothing.
        detach: the factor is a constant; False lets gradient flow through it.
        normalize: count (KaLM) or weight.

    Raises:
        RecipeError: `detach` False with `normalize` weight: the divisor is shared by all processes and constant.
    """

    def __init__(
        self, gamma: float = 0.5, detach: bool = True, normalize: Literal["count", "weight"] = "count"
    ) -> None:
        super().__init__()
        if normalize == "weight" and not detach:
            raise RecipeError(
                "focal weights that divide the average must be constants",
                where="weighting.focal",
                cure="set detach: true, or normalize: count",
            )
        self.gamma, self.detach, self.normalize = gamma, detach, normalize

    def rows(self, log_p: Tensor) -> Tensor:
        if self.detach:
            log_p = log_p.detach()
        # tiny instead of 0: the slope of x^gamma at 0 is infinite, and infinity times a zero loss is NaN.
        return (-torch.expm1(log_p)).clamp_min(torch.finfo(log_p.dtype).tiny) ** self.gamma


class Hardness(Weighting):
    """Adds ``alpha * stop_gradient(similarity)`` to the logits of negatives, not divided by the temperature.

    ``own`` is EmbeddingGemma (arXiv 2509.20354, alpha 5); ``in_batch`` is Lan et al. (arXiv 2503.04812, alpha 9).
    Applies in every direction; sentence-transformers 6.2 applies it to q-d only, which is the same for `own`.

    Args:
        alpha: 0 changes nothing.
        on: own: the row's explicit negatives; in_batch: all others; all: every negative.
    """

    def __init__(self, alpha: float = 5.0, on: Literal["own", "in_batch", "all"] = "own") -> None:
        super().__init__()
        self.alpha, self.on = alpha, on

    def logits(self, candidates: Candidates) -> Tensor | None:
        if self.on == "own" and candidates.direction != "q-d":
            return None
        term = self.alpha * candidates.similarities.detach()
        if self.on == "all":
            return term
        own = candidates.is_own_negative
        return term.masked_fill(~own if self.on == "own" else own, 0.0)


class Dynamic(Weighting):
    """Row weight ``e^(f(h) / r)``, h the row's loss mapped to -delta .. delta by the batch's least and largest loss.

    f is ``linupper`` min(h + delta, delta), ``uniform`` h, ``quadratic`` 1 - h^2 / delta^2 or ``extremes`` |h|; the
    average divides by the sum of the weights (Sow et al., ICLR 2025, OpenReview gU4ZgQNsOC; strategies as in DataFlex,
    the authors' code was not read). Least and largest are of the global batch: one outlier flattens the rest. Where
    all losses are equal so are the weights.

    Args:
        strategy: f.
        r: sharpness, large is flat.
        delta: half the range.
    """

    normalize = "weight"
    over_batch = True

    def __init__(
        self,
        strategy: Literal["linupper", "uniform", "quadratic", "extremes"] = "linupper",
        r: float = 1.0,
        delta: float = 1.0,
    ) -> None:
        super().__init__()
        self.strategy, self.r, self.delta = strategy, r, delta

    def batch(self, losses: Tensor, every: Tensor, counted: Tensor) -> Tensor:
        losses, d = losses.detach(), self.delta
        low = every.masked_fill(~counted, torch.inf).min()
        high = every.masked_fill(~counted, -torch.inf).max()
        width = high - low
        flat = ~(width > 0) | ~width.isfinite()
        h = torch.where(flat, 0.0, d * (2 * losses - (high + low)) / torch.where(flat, 1.0, width)).clamp(-d, d)
        f = {
            "linupper": (h + d).clamp_max(d),
            "uniform": h,
            "quadratic": 1 - h.square() / d**2,
            "extremes": h.abs(),
        }[self.strategy]
        return ((f - max(d, 1.0)) / self.r).exp()
