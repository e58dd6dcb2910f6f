"""Options of MACL."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from embedkit.recipe.objectives.base import ObjectiveConfig
from embedkit.recipe.objectives.contrastive import columns


class MACL(ObjectiveConfig):
    """Model-aware contrastive learning (Huang et al. 2023): the temperature follows the mean positive similarity."""

    in_batch: ClassVar[bool] = True

    name: Literal["macl"] = "macl"
    tau0: float = Field(0.05, gt=0, le=10, description="Temperature where the mean positive similarity is a0.")
    alpha: float = Field(0.5, ge=0, le=1, description="How far the temperature follows; 0 keeps tau0.")
    a0: float = Field(0.0, ge=0, le=1, description="Positive similarity that leaves the temperature alone.")

    def columns(self, n: int, p: int, m: int) -> int:
        return columns("q-d", n, p, m)
