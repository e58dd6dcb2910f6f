"""Options of the energy hinge."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from embedkit.recipe.objectives.base import ObjectiveConfig
from embedkit.recipe.objectives.contrastive import columns


class EnergyHinge(ObjectiveConfig):
    """max(0, margin + hardest negative's cosine - positive's cosine) (PromCSE); a term for `sum`."""

    in_batch: ClassVar[bool] = True

    name: Literal["energy_hinge"] = "energy_hinge"
    margin: float = Field(0.2, ge=0, le=2, description="In cosines.")

    def columns(self, n: int, p: int, m: int) -> int:
        return columns("q-d", n, p, m)
