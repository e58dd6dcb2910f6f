"""Objectives without negatives: pairs meet, and statistics over the batch keep the embedding from collapsing."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from embedkit.errors import RecipeError, TrainingError
from embedkit.objectives.base import Objective, no_weight, one_positive, upcast
from embedkit.objectives.logits import products, unit
from embedkit.objectives.views import no_negatives
from embedkit.types import Embeddings, LossOut

_GROUPS = 0x5E
"""Tag of the groups' random numbers."""


def covariance(x: Tensor, *, biased: bool = False) -> Tensor:
    """[d, d] covariance of the coordinates of x [n, d]; over n - 1, or over n."""
    centred = (x - x.mean(0)).T
    return products(centred, centred) / (len(x) if biased else len(x) - 1)


def off_diagonal(x: Tensor) -> Tensor:
    """The square matrix with zeros on its diagonal."""
    return x - torch.diag(torch.diagonal(x))


def whitened(x: Tensor, eps: float = 0.0) -> Tensor:
    """``(x - mean) L^-T`` with ``L L^T = (1 - eps) cov + eps I`` (Cholesky); gradient flows through mean and cov.

    Raises:
        TrainingError: the covariance is singular.
    """
    eye = torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    with torch.autocast(x.device.type, enabled=False):
        factor, failed = torch.linalg.cholesky_ex((1 - eps) * covariance(x) + eps * eye)
        if bool(failed):
            raise TrainingError(
                f"the covariance of {len(x)} rows in {x.shape[1]} dimensions is singular, they cannot be whitened",
                where="objective.w_mse",
                cure="set eps (0.1), raise train.batch_size and size, or add a head with fewer dimensions",
            )
        return torch.linalg.solve_triangular(factor, (x - x.mean(0)).T, upper=False).T


class _Decorrelated(Objective):
    scope = "batch"
    name = ""

    def pair(self, e: Embeddings) -> tuple[Tensor, Tensor]:
        """[N, d] both views, in float32 at least, as they are: not normalised.

        Raises:
            DataError: not one positive per example, explicit negatives, or example weights.
            TrainingError: a batch of one.
        """
        no_weight(e, self.name)
        no_negatives(e, self.name)
        views = upcast(e.query), upcast(one_positive(e, self.name))
        if len(e) < 2:
            raise TrainingError(
                f"objective {self.name!r} needs two examples or more in a batch", "train.batch_size", "raise it"
            )
        return views


class VICReg(_Decorrelated):
    """VICReg (arXiv 2105.04906): ``inv mean (a - b)^2 + var (v(a) + v(b)) / 2 + cov (c(a) + c(b))``.

    ``v(x) = mean over coordinates of max(0, 1 - sqrt(var + eps))``, ``c(x) = sum over coordinates p != q of cov_pq^2,
    divided by d``, variances over N - 1. The embeddings are taken as they are: of unit length they have deviations of
    about 1 / sqrt(d), where the hinge is all but constant, so train behind a head (an expander) without normalisation.

    Args:
        invariance, variance, covariance, eps: inv, var, cov, eps.
        scaling: ``code``: as above, and in every released code. ``paper``: the squared distance is summed over
            coordinates and the variance terms are not halved; so others restate the paper (not verified).
    """

    name = "vicreg"

    def __init__(
        self,
        invariance: float = 25.0,
        variance: float = 25.0,
        covariance: float = 1.0,
        eps: float = 1e-4,
        scaling: Literal["code", "paper"] = "code",
    ) -> None:
        super().__init__()
        self.invariance, self.variance, self.covariance, self.eps = invariance, variance, covariance, eps
        self.paper = scaling == "paper"

    def forward(self, e: Embeddings, rows: Tensor) -> LossOut:
        a, b = self.pair(e)
        distance = (a - b).square().sum(1).mean() / (1 if self.paper else a.shape[1])
        spread = (self._hinge(a) + self._hinge(b)) / (1 if self.paper else 2)
        shared = sum(off_diagonal(covariance(x)).square().sum() / x.shape[1] for x in (a, b))
        value = self.invariance * distance + self.variance * spread + self.covariance * shared
        parts = {"invariance": distance, "variance": spread, "covariance": shared}
        return LossOut(value, None, {name: torch.as_tensor(part).detach() for name, part in parts.items()})

    def _hinge(self, x: Tensor) -> Tensor:
        return (1 - (x.var(0) + self.eps).sqrt()).relu().mean()


class BarlowTwins(_Decorrelated):
    """Barlow Twins (arXiv 2103.03230): ``sum_p (C_pp - 1)^2 + lambda sum_{p != q} C_pq^2``.

    C is the correlation of the coordinates of one view with those of the other, each standardised over the batch with
    the biased variance. With fewer rows than dimensions C has rank N at most: its entries off the diagonal are noise of
    about 1 / sqrt(N), their squares sum to about d^2 / N.

    Args:
        off_diagonal: lambda.
        eps: added to variances.
    """

    name = "barlow_twins"

    def __init__(self, off_diagonal: float = 0.0051, eps: float = 1e-5) -> None:
        super().__init__()
        self.off_diagonal, self.eps = off_diagonal, eps

    def forward(self, e: Embeddings, rows: Tensor) -> LossOut:
        a, b = (self._standardised(x) for x in self.pair(e))
        correlation = products(a.T, b.T) / len(e)
        apart = off_diagonal(correlation).square().sum()
        same = (torch.diagonal(correlation) - 1).square().sum()
        metrics = {"correlation": torch.diagonal(correlation).detach().mean(), "redundancy": apart.detach()}
        return LossOut(same + self.off_diagonal * apart, None, metrics)

    def _standardised(self, x: Tensor) -> Tensor:
        return (x - x.mean(0)) / (x.var(0, correction=0) + self.eps).sqrt()


class WMSE(_Decorrelated):
    """W-MSE (arXiv 2007.06346): ``mean 2 - 2 cos(W(a)_i, W(b)_i)``, W whitening each view (`whitened`).

    Rows are cut into groups of `size`, the same for both views, and whitened group by group; the whitening of a
    Cholesky factor depends on the order of the coordinates, not on that of the rows.

    Args:
        size: rows of a group; None: the whole batch.
        eps: share of the identity in the covariance. Without it a group must have more rows than dimensions.
        iterations: draws of the groups, averaged.

    Raises:
        RecipeError: `size` does not divide the batch.
        TrainingError: a covariance is singular.
    """

    name = "w_mse"

    def __init__(self, size: int | None = None, eps: float = 0.0, iterations: int = 1) -> None:
        super().__init__()
        self.size, self.eps, self.iterations = size, eps, iterations

    def draw(self, e: Embeddings) -> Tensor:
        """[iterations, N] orders of the rows, by the step alone."""
        rng = np.random.default_rng([_GROUPS, e.step])
        orders = np.stack([rng.permutation(len(e)) for _ in range(self.iterations)])
        return torch.from_numpy(orders).to(e.query.device)

    def forward(self, e: Embeddings, rows: Tensor) -> LossOut:
        a, b = self.pair(e)
        size = self.size or len(e)
        if len(e) % size:
            raise RecipeError(f"{size} does not divide a batch of {len(e)}", "objective.size", "use a divisor, or null")
        cosines = []
        for order in self.draw(e):
            for group in order.split(size):
                cosines.append((unit(whitened(a[group], self.eps)) * unit(whitened(b[group], self.eps))).sum(1))
        cosine = torch.cat(cosines).mean()
        return LossOut(2 - 2 * cosine, None, {"positive_similarity": cosine.detach()})
