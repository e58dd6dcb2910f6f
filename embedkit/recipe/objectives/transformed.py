"""Options of positive extrapolation and negative interpolation."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from embedkit.recipe.base import invalid
from embedkit.recipe.objectives.queue import MoCo


class FeatureTransform(MoCo):
    """MoCo with pairs drawn apart and negatives of the queue mixed with each other (Zhu et al. 2021)."""

    name: Literal["feature_transform"] = "feature_transform"  # type: ignore[assignment]
    positive_alpha: float | None = Field(
        2.0, gt=0, le=100, description="Pairs are drawn apart by 1 + Beta(alpha, alpha), once a step; null: not at all."
    )
    negative_alpha: float | None = Field(
        1.6, gt=0, le=100, description="Keys are mixed in shares of Beta(alpha, alpha), once a step; null: not at all."
    )

    @model_validator(mode="after")
    def _something(self) -> FeatureTransform:
        if self.positive_alpha is None and self.negative_alpha is None:
            raise invalid("feature_transform without both alphas is moco", "use moco, or give one of them")
        return self
