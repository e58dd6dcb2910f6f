"""Options of the objectives without negatives that keep coordinates apart: VICReg, Barlow Twins, W-MSE."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from embedkit.recipe.objectives.base import ObjectiveConfig


class _Decorrelated(ObjectiveConfig):
    """Pairs, and statistics of the coordinates over the whole batch."""

    scope: ClassVar[Literal["row", "batch"]] = "batch"
    without_negatives: ClassVar[bool] = True

    @property
    def compares(self) -> None:
        return None

    def sees(self, n: int, p: int, m: int) -> str:
        return f"no negatives; its pair, and the statistics of every coordinate over {n} examples"


class VICReg(_Decorrelated):
    """Variance, invariance, covariance (arXiv 2105.04906): pairs meet, coordinates vary and do not repeat."""

    name: Literal["vicreg"] = "vicreg"
    invariance: float = Field(25.0, ge=0, description="Factor of the pairs' squared distance.")
    variance: float = Field(25.0, ge=0, description="Factor of the hinge on each coordinate's deviation, at 1.")
    covariance: float = Field(1.0, ge=0, description="Factor of the squared covariances of different coordinates.")
    eps: float = Field(1e-4, gt=0, lt=1, description="Added to variances below the root.")
    scaling: Literal["code", "paper"] = Field(
        "code",
        description="code: squared distance over coordinates is a mean, the variance term is halved (all released "
        "codes). paper: a sum, and not halved (as others restate the paper; not verified).",
    )


class BarlowTwins(_Decorrelated):
    """The cross-correlation of two views becomes the identity (arXiv 2103.03230)."""

    name: Literal["barlow_twins"] = "barlow_twins"
    off_diagonal: float = Field(0.0051, ge=0, description="Factor of the correlations of different coordinates.")
    eps: float = Field(1e-5, gt=0, lt=1, description="Added to variances below the root.")


class WMSE(_Decorrelated):
    """Distance of the two views' unit vectors, each view whitened over the batch (arXiv 2007.06346)."""

    name: Literal["w_mse"] = "w_mse"
    size: int | None = Field(
        None,
        ge=2,
        description="Rows whitened together, drawn anew in each step; divides the batch. Twice the embedding size or "
        "more. null: the batch.",
    )
    eps: float = Field(
        0.0, ge=0, lt=1, description="Share of the identity in the covariance; above 0 where rows are few."
    )
    iterations: int = Field(1, ge=1, description="Draws of the groups, whose losses are averaged.")
