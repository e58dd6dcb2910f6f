"""Options of alignment, uniformity and their decoupled and kernel forms."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from embedkit.recipe.base import invalid
from embedkit.recipe.objectives.base import ObjectiveConfig


class AlignUniform(ObjectiveConfig):
    """Distance of the pairs plus log mean potential of all others on the sphere (Wang & Isola 2020); no softmax."""

    scope: ClassVar[Literal["row", "batch"]] = "batch"
    name: Literal["align_uniform"] = "align_uniform"
    align_weight: float = Field(1.0, ge=0, description="Factor of the alignment; 0 leaves it out.")
    uniform_weight: float = Field(1.0, ge=0, description="Factor of the uniformity; 0 leaves it out.")
    alpha: float = Field(2.0, gt=0, le=10, description="Alignment is the mean distance to this power.")
    t: float = Field(2.0, gt=0, le=100, description="The potential of two texts is e^(-t distance^2).")
    of: Literal["both", "query", "document"] = Field(
        "both", description="Uniformity of both sides, averaged (the authors), or of one of them."
    )

    def sees(self, n: int, p: int, m: int) -> str:
        if not self.uniform_weight:
            return "its pair; no negatives"
        return f"its pair and {n - 1} others of its side; no softmax"

    def roles(self) -> frozenset[str]:
        alone = self.of == "query" and not self.align_weight
        return frozenset({"query"}) if alone else self.needs

    @model_validator(mode="after")
    def _something(self) -> AlignUniform:
        if not (self.align_weight or self.uniform_weight):
            raise invalid("align_uniform with both weights 0 is no loss", "set align_weight or uniform_weight above 0")
        return self


class DecoupledUniformity(ObjectiveConfig):
    """Uniformity of the centres of each text's views (Dufumier et al. 2023); a guide may say which centres are near."""

    scope: ClassVar[Literal["row", "batch"]] = "batch"
    name: Literal["decoupled_uniformity"] = "decoupled_uniformity"
    t: float = Field(2.0, gt=0, le=100, description="The potential of two centres is e^(-t distance^2).")
    kernel: Literal["none", "rbf", "cosine"] = Field(
        "none", description="Of the `guide` model's vectors of the queries; centres are averaged over near texts."
    )
    sigma: float = Field(1.0, gt=0, description="Width of kernel rbf, in distances of the guide's vectors.")
    ridge: float | None = Field(
        0.01, gt=0, description="Added to the kernel's diagonal before it is inverted; None takes 1 / sqrt(batch)."
    )

    def sees(self, n: int, p: int, m: int) -> str:
        return f"the centre of its {1 + p} views and those of {n - 1} others; no softmax"

    @property
    def needs_guide(self) -> bool:
        return self.kernel != "none"


class KCL(ObjectiveConfig):
    """Gaussian kernel of the pairs against that of all others, no logarithm (Koromilas et al. 2024)."""

    name: Literal["kcl"] = "kcl"
    t: float = Field(2.0, gt=0, le=100, description="The kernel is e^(-t distance^2) on unit vectors.")
    gamma: float = Field(16.0, ge=0, description="Weight of the repulsion.")

    def sees(self, n: int, p: int, m: int) -> str:
        return f"its pair and {n - 1} others of its side; no softmax"

    def columns(self, n: int, p: int, m: int) -> int:
        return n
