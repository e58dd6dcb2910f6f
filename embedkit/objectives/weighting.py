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
