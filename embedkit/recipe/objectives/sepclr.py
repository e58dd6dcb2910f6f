"""Options of SepCLR."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from embedkit.foreign.limits import WIDTH
from embedkit.recipe.objectives.base import ObjectiveConfig


class SepCLR(ObjectiveConfig):
    """What target texts (label 1) have and background texts (label 0) have not, in coordinates apart (2402.11928)."""

    scope: ClassVar[Literal["row", "batch"]] = "batch"
    needs: ClassVar[frozenset[str]] = frozenset({"query", "positive", "label"})
    explicit: ClassVar[bool] = False
    without_negatives: ClassVar[bool] = True

    name: Literal["sepclr"] = "sepclr"
    salient: int = Field(
        32, ge=1, le=WIDTH, description="How many coordinates, the last ones, hold what only target texts have."
    )
    tau: float = Field(0.5, gt=0, le=100, description="Squared distances are divided by twice this.")
    salient_weight: float = Field(1000.0, ge=0, description="Factor of the salient part's alignment and uniformity.")
    infoless_weight: float = Field(1000.0, ge=0, description="Factor of what the salient part says of the background.")
    jem_weight: float = Field(10.0, ge=0, description="Factor of the joint entropy of both parts, to be large.")

    @property
    def compares(self) -> None:
        return None

    def sees(self, n: int, p: int, m: int) -> str:
        return f"no negatives; its pair, and the distances between all {n} examples"
