"""Options of SimLAP."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from embedkit.recipe.objectives.base import ObjectiveConfig


class SimLAP(ObjectiveConfig):
    """Texts of two classes as positives, through a trained gate per pair of classes (Hydra / SimLAP, 2024)."""

    in_batch: ClassVar[bool] = True
    explicit: ClassVar[bool] = False
    sized: ClassVar[bool] = True
    needs: ClassVar[frozenset[str]] = frozenset({"query", "label"})

    name: Literal["simlap"] = "simlap"
    classes: int = Field(ge=2, le=100_000, description="Size of the label set; labels are 0 .. classes - 1.")
    pairs: Literal["identical", "permutation", "arbitrary"] = Field(
        "arbitrary", description="The second class of an anchor: its own, of a random example, of one of another class."
    )
    scale: float = Field(10.0, gt=0, le=1000, description="Logits are gated cosines times this.")
    hidden: int | None = Field(
        512, ge=1, description="Width of the gate's net and of the class vectors. null: the vectors are the gate."
    )
    with_itself: bool = Field(False, description="Keep an anchor among its own positives, as the authors' code does.")

    def meets(self, n: int, p: int) -> tuple[int, str]:
        return (n - 1) * (1 + p), "those of its two classes"

    def columns(self, n: int, p: int, m: int) -> int:
        return (1 + p) * n * (1 + p)
