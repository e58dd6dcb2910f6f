"""The spectrum of a batch: entropy and effective rank as a term of the loss."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from embedkit.objectives.base import Objective, upcast
from embedkit.objectives.logits import unit
from embedkit.types import Embeddings, LossOut

ENERGY = 0.9
"""Share of the spectrum that the monitored energy rank covers (ours: the papers' threshold is not published)."""


def spectrum(x: Tensor, weight: Tensor | None = None) -> Tensor:
    """Eigenvalues, rising, of the density matrix ``sum_i w_i z_i z_i^T / sum_i w_i`` with z the unit rows of x.

    They are those of the Gram matrix of the rows too, up to zeros, so the smaller of the two is decomposed. The
    gradient goes through the eigenvalues only (``V diag(g) V^T``), never through differences of eigenvalues: equal
    and zero ones do no harm.

    Args:
        x: [n, d].
        weight: [n], not negative; all ones when None.

    Returns:
        [min(n, d)], not negative, with sum 1 if no row is zero.
    """
    z = unit(x)
    share = z.new_full((len(z),), 1.0) if weight is None else weight.to(z.dtype)
    z = z * (share / share.sum().clamp_min(torch.finfo(z.dtype).tiny)).sqrt()[:, None]
    with torch.autocast(z.device.type, enabled=False):
        matrix = z @ z.T if len(z) <= z.shape[1] else z.T @ z
        return torch.linalg.eigvalsh(matrix).clamp_min(0.0)


def entropy(eigenvalues: Tensor) -> Tensor:
    """``-sum p log p``, natural logarithm; eigenvalues at the level of rounding count as zero, gradient included."""
    kept = eigenvalues > torch.finfo(eigenvalues.dtype).eps * eigenvalues.detach().amax().clamp_min(0.0)
    return torch.special.entr(torch.where(kept, eigenvalues, 1.0)).sum()


def energy_rank(eigenvalues: Tensor, share: float = ENERGY) -> Tensor:
    """How many of the largest eigenvalues hold this share of their sum."""
    held = eigenvalues.flip(0).cumsum(0)
    return (held < share * held[-1]).sum() + 1


class Rank(Objective):
    """Von Neumann entropy H of the batch, or its effective rank exp(H): what a sum with a weight raises or lowers.

    Ours, in the style of Rank Reduction (arXiv 2405.11297), whose regulariser is not published in a form that could be
    followed; H is that of VNE (arXiv 2304.01434, the same group). The loss is H itself: in `sum` a positive weight
    lowers the rank, a negative one raises it. VNE advises weights far below 0.5 and batches of 32 or more. Both are
    bounded by min(N, d), so compare runs only at equal batch size. Example weights weight the rows.

    Metrics: effective_rank, and energy_rank, the number of leading eigenvalues that hold 90 % of the sum.

    Args:
        quantity: entropy or effective_rank.
        of: query: the queries (first views); all: positives and explicit negatives too.
    """

    scope = "batch"

    def __init__(
        self,
        quantity: Literal["entropy", "effective_rank"] = "entropy",
        of: Literal["query", "all"] = "query",
    ) -> None:
        super().__init__()
        self.quantity, self.of = quantity, of

    def forward(self, e: Embeddings, rows: Tensor) -> LossOut:
        x, weight = e.query, None if e.weight is None else upcast(e.weight.detach())
        if self.of == "all":
            x = torch.cat([e.query, e.positive.flatten(0, 1), e.negative[e.negative_mask]])
            if weight is not None:
                owner = weight[:, None].expand(-1, e.positive.shape[1]).flatten()
                explicit = weight[:, None].expand_as(e.negative_mask)[e.negative_mask]
                weight = torch.cat([weight, owner, explicit])
        eigenvalues = spectrum(x, weight)
        h = entropy(eigenvalues)
        value = h if self.quantity == "entropy" else h.exp()
        metrics = {
            "effective_rank": h.detach().exp(),
            "energy_rank": energy_rank(eigenvalues.detach()).to(h.dtype),
        }
        return LossOut(value, None, metrics)
