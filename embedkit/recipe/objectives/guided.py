"""Options of an objective between the trained model and the frozen guide."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from embedkit.recipe.base import invalid
from embedkit.recipe.objectives.base import AnyObjective, ObjectiveConfig, asks_guide


class GuidePair(ObjectiveConfig):
    """The inner objective between the trained vectors of one side and the guide's of another: a term for `sum` that
    draws a tower towards a frozen third one (Three Towers, arXiv 2305.16999)."""

    name: Literal["guide_pair"] = "guide_pair"
    objective: AnyObjective
    of: Literal["query", "positive"] = Field("query", description="Which trained vectors are drawn to the guide's.")
    to: Literal["query", "positive"] = Field("positive", description="Of which text the guide's vector is taken.")

    @property
    def needs_guide(self) -> bool:
        return True

    def inner(self) -> tuple[ObjectiveConfig, ...]:
        return (self.objective,)

    def columns(self, n: int, p: int, m: int) -> int:
        return self.objective.columns(n, 1, m if self.to == "positive" else 0)

    @model_validator(mode="after")
    def _plain_inside(self) -> GuidePair:
        if asks_guide(self.objective):
            raise invalid("the guide is one side of guide_pair, and its inner objective asks it too", "leave that out")
        return self
