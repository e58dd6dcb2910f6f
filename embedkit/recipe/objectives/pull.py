"""Options of the pull of two views towards each other."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from embedkit.recipe.objectives.base import ObjectiveConfig


class CosinePull(ObjectiveConfig):
    """Minus twice the mean cosine of a query and its positives (Demo-tuning); a term for `sum`: alone it collapses."""

    explicit: ClassVar[bool] = False
    without_negatives: ClassVar[bool] = True

    name: Literal["cosine_pull"] = "cosine_pull"
    weight: float = Field(0.01, gt=0, le=1000, description="The paper's lambda.")

    def columns(self, n: int, p: int, m: int) -> int:
        return p
