"""Options of the rescaler of losses that learns."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from embedkit.foreign.limits import WIDTH
from embedkit.recipe.objectives.base import AnyObjective, ObjectiveConfig, needs


class STORM(ObjectiveConfig):
    """Weights of rows that learn which rows make another batch better (ours, in the style of arXiv 2412.12955)."""

    scope: ClassVar[Literal["row", "batch"]] = "batch"
    sized: ClassVar[bool] = True

    name: Literal["storm"] = "storm"
    objective: AnyObjective = Field(description="What has one loss per row, such as infonce.")
    rate: float = Field(0.1, gt=0, description="Of the step that is tried out, on a linear layer over the embeddings.")
    hidden: int = Field(16, ge=1, le=WIDTH, description="Width of the rescaler.")

    @property
    def weighs(self) -> bool:
        return True

    @property
    def compares(self) -> str | None:
        return self.objective.compares

    @property
    def needs_guide(self) -> bool:
        return self.objective.needs_guide

    @property
    def target_momentum(self) -> float | None:
        return self.objective.target_momentum

    def roles(self) -> frozenset[str]:
        return needs(self.objective)

    def columns(self, n: int, p: int, m: int) -> int:
        return n * self.objective.columns(n, p, m)

    def sees(self, n: int, p: int, m: int) -> str:
        return f"what {self.objective.name} sees; {n} rows weigh by what they do for half of the batch"
