"""Options of the objective that moves one side of the batch onto the other."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from embedkit.recipe.base import invalid
from embedkit.recipe.objectives.base import AnyObjective, ObjectiveConfig, leaves


class MeanShift(ObjectiveConfig):
    """The inner objective after each positive is moved by the difference of the two sides' means: for translations
    (ShifCon's contrast, arXiv 2410.19453, on the final embeddings)."""

    name: Literal["mean_shift"] = "mean_shift"
    objective: AnyObjective = Field(
        description="Compares the moved vectors, by dot products: they have no unit length any more.",
    )

    def inner(self) -> tuple[ObjectiveConfig, ...]:
        return (self.objective,)

    @model_validator(mode="after")
    def _by_dot(self) -> MeanShift:
        for leaf in leaves(self.objective):
            if leaf.compares != "dot":
                raise invalid(f"{leaf.name} inside mean_shift normalises again", "set its similarity: dot")
        return self
