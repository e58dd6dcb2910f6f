"""Alignment and uniformity, apart or decoupled: potentials of the distances between texts, no softmax."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from embedkit.errors import RecipeError
from embedkit.objectives.base import Objective, example_weight, no_weight, upcast
from embedkit.objectives.distances import power, square_distances
from embedkit.objectives.logits import log_sum_exp, products, unit
from embedkit.objectives.views import matching, needs_positives, stacked
from embedkit.types import Embeddings, LossOut


def unlike_pairs(e: Embeddings) -> Tensor:
    """[N, N] pairs i < j of examples without a text in common, given or known."""
    alike = matching(e, torch.arange(len(e), device=e.query.device))
    return ~(alike | alike.T) & torch.ones_like(alike).triu(1)


def log_potential(x: Tensor, t: float, pairs: Tensor) -> Tensor:
    """Scalar ``log mean over pairs (i, j) of exp(-t |x_i - x_j|^2)``; 0, without gradient, where there is no pair.

    Args:
        x: [N, d].
        t: sharpness.
        pairs: [N, N] bool.
    """
    total = log_sum_exp((-t * square_distances(x, x)).reshape(1, -1), pairs.reshape(1, -1))[0]
    count = pairs.sum()
    return torch.where(count > 0, total - count.clamp_min(1).to(total.dtype).log(), 0.0)


class AlignUniform(Objective):
    """``align_weight * align + uniform_weight * uniform`` on unit vectors (Wang & Isola, arXiv 2005.10242)::

        align   = mean over pairs of |q_i - p_ik|^alpha
        uniform = mean over sides x of log mean over i < j of e^(-t |x_i - x_j|^2)

    The sides are the queries, and the positives slot by slot. Uniformity at t 2 is 0 where all texts coincide and about
    -4 on a uniform sphere of many dimensions. It is a logarithm of a mean over the whole batch, which no row has a part
    of. Examples that share a text are no pair; explicit negatives take no part.

    Args:
        align_weight, uniform_weight: factors.
        alpha: exponent of the distance.
        t: sharpness of the potential.
        of: both sides, or the uniformity of one of them.

    Raises:
        DataError: the batch has no positives and they are asked for, or example weights.
    """

    scope = "batch"

    def __init__(
        self,
        align_weight: float = 1.0,
        uniform_weight: float = 1.0,
        alpha: float = 2.0,
        t: float = 2.0,
        of: Literal["both", "query", "document"] = "both",
    ) -> None:
        super().__init__()
        self.align_weight, self.uniform_weight = align_weight, uniform_weight
        self.alpha, self.t, self.of = alpha, t, of

    def forward(self, e: Embeddings, rows: Tensor) -> LossOut:
        no_weight(e, "align_uniform")
        x = stacked(e)
        value, metrics = x.new_zeros(()), {}
        if self.align_weight:
            needs_positives(e, "align_uniform")
            square = (x[:, :1] - x[:, 1:]).square().sum(-1)
            align = power(square, self.alpha).mean()
            value, metrics["alignment"] = value + self.align_weight * align, align.detach()
        if self.uniform_weight:
            pairs = unlike_pairs(e)
            uniform = torch.stack([log_potential(x[:, k], self.t, pairs) for k in self._sides(e)]).mean()
            value, metrics["uniformity"] = value + self.uniform_weight * uniform, uniform.detach()
        return LossOut(value, None, metrics)

    def _sides(self, e: Embeddings) -> range:
        if self.of == "query":
            return range(1)
        needs_positives(e, "align_uniform")
        return range(int(self.of == "document"), 1 + e.positive.shape[1])


class DecoupledUniformity(Objective):
    """Uniformity of the examples' centres (arXiv 2206.01646): ``log mean over i < j of e^(-t |m_i - m_j|^2)``.

    ``m_i`` is the mean of the unit vectors of example i, not brought to length 1 again: its length, which the mean of
    unlike views lacks, is all that aligns them. With a kernel K of the guide's vectors of the queries, the centres are
    those of the neighbourhood, ``m <- (K + ridge I)^-1 K m``, a constant matrix:

    - ``rbf``: ``K_ij = e^(-|g_i - g_j|^2 / (2 sigma^2))`` on the guide's vectors as they are.
    - ``cosine``: of the guide's vectors.

    Examples that share a text are no pair; explicit negatives take no part.

    Args:
        t: sharpness of the potential.
        kernel: none, rbf or cosine.
        sigma: width of rbf.
        ridge: None takes ``1 / sqrt(N)``.

    Raises:
        DataError: the batch has no positives, or example weights.
        RecipeError: a kernel is asked for and the batch has no guide.
    """

    scope = "batch"

    def __init__(
        self,
        t: float = 2.0,
        kernel: Literal["none", "rbf", "cosine"] = "none",
        sigma: float = 1.0,
        ridge: float | None = 0.01,
    ) -> None:
        super().__init__()
        self.t, self.kernel, self.sigma, self.ridge = t, kernel, sigma, ridge

    def forward(self, e: Embeddings, rows: Tensor) -> LossOut:
        no_weight(e, "decoupled_uniformity")
        needs_positives(e, "decoupled_uniformity")
        centre = stacked(e).mean(1)
        length = centre.detach().norm(dim=1).mean()
        if self.kernel != "none":
            centre = products(self._mixing(e).to(centre.dtype), centre.T)
        return LossOut(log_potential(centre, self.t, unlike_pairs(e)), None, {"centre_length": length})

    @torch.no_grad()
    def _mixing(self, e: Embeddings) -> Tensor:
        """[N, N] ``(K + ridge I)^-1 K``."""
        if e.guide is None:
            raise RecipeError(
                "decoupled_uniformity with a kernel asks a guide", "guide", "add `guide: {model: FOLDER_OR_ID}`"
            )
        g = upcast(e.guide.query)
        if self.kernel == "cosine":
            kernel = products(unit(g), unit(g))
        else:
            kernel = (square_distances(g, g) / (-2 * self.sigma**2)).exp()
        ridge = 1 / math.sqrt(len(e)) if self.ridge is None else self.ridge
        return torch.linalg.solve(kernel + ridge * torch.eye(len(e), dtype=g.dtype, device=g.device), kernel)


class KCL(Objective):
    """Kernel contrastive learning (arXiv 2405.18045) on unit vectors, with the kernel ``k(x, y) = e^(-t |x - y|^2)``::

        loss_i = -2 mean over positives of k(q_i, p_ik) + gamma * sum over sides x of mean over j != i of k(x_i, x_j)

    Sides are the queries, and the positives slot by slot (the paper has two). No logarithm, no softmax: a row's loss
    depends on each other row by itself. Examples that share a text are not pushed apart; explicit negatives take no
    part.

    Args:
        t: sharpness of the kernel.
        gamma: weight of the repulsion.

    Raises:
        DataError: the batch has no positives.
    """

    def __init__(self, t: float = 2.0, gamma: float = 16.0) -> None:
        super().__init__()
        self.t, self.gamma = t, gamma

    def columns(self, e: Embeddings) -> int:
        return len(e)

    def forward(self, e: Embeddings, rows: Tensor) -> LossOut:
        needs_positives(e, "kcl")
        x = stacked(e)
        attract = (-self.t * (x[rows, :1] - x[rows, 1:]).square().sum(-1)).exp().mean(1)
        other = ~matching(e, rows)
        repel = torch.zeros_like(attract)
        for k in range(x.shape[1]):
            kernel = (-self.t * square_distances(x[rows, k], x[:, k])).exp()
            repel = repel + kernel.masked_fill(~other, 0.0).sum(1) / other.sum(1).clamp_min(1)
        metrics = {"attraction": attract.detach().mean(), "repulsion": repel.detach().mean()}
        return LossOut(-2 * attract + self.gamma * repel, example_weight(e, rows), metrics)
