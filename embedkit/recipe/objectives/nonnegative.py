"""Options of non-negative contrastive learning."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from embedkit.recipe.objectives.base import AnyObjective, ObjectiveConfig

Activation = Literal["relu", "rep_relu", "softplus", "none"]


class NonNegative(ObjectiveConfig):
    """The inner objective on embeddings without negative coordinates (NCL, arXiv 2403.12459)."""

    name: Literal["non_negative"] = "non_negative"
    objective: AnyObjective = Field(description="On cosines; the authors' is NT-Xent at temperature 0.2.")
    activation: Activation = Field(
        "rep_relu", description="rep_relu: relu, with GELU's gradient; relu; softplus; none: as they are."
    )
    floor: float = Field(
        1e-3,
        ge=0,
        le=1,
        description="Rows that are shorter behind the activation get the gradient of rows of this length; 0: no floor.",
    )

    def inner(self) -> tuple[ObjectiveConfig, ...]:
        return (self.objective,)
