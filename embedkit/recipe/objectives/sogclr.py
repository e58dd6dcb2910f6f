"""Options of the global contrastive objectives with a state per example."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from embedkit.recipe.objectives.base import ObjectiveConfig


class SogCLR(ObjectiveConfig):
    """Contrast with a running mean per example over all negatives (SogCLR); temperatures of its own (iSogCLR)."""

    remembers: ClassVar[bool] = True
    state_of: ClassVar[str] = "per text"

    name: Literal["sogclr"] = "sogclr"
    temperature: float = Field(0.1, gt=0, le=10, description="The logits' divisor; where temperatures begin.")
    gamma: float = Field(0.9, gt=0, le=1, description="Weight of this batch in the running mean; 1 remembers nothing.")
    rho: float | None = Field(
        None, ge=0, description="null: one temperature (SogCLR). A number: one per example, learned (iSogCLR; 0.3)."
    )
    temperature_bounds: tuple[float, float] = Field((0.05, 0.7), description="Of the learned temperatures.")
    temperature_rate: float = Field(0.01, gt=0, description="Learning rate of the temperatures.")
    temperature_momentum: float = Field(
        0.9, gt=0, le=1, description="Weight of a new gradient in the temperatures' running gradient."
    )
    temperature_clip: float | None = Field(None, gt=0, description="Bound of a temperature's gradient; null: none.")

    contrast: Literal["views", "pairs"] = Field(
        "views",
        description="views: both texts of a row against both texts of all others, one state. pairs: the query against "
        "other positives and the positive against other queries, a state each (the authors' form for two modalities).",
    )

    def columns(self, n: int, p: int, m: int) -> int:
        return 4 * n

    def state_bytes(self, dim: int) -> int:
        return 8 + (2 if self.contrast == "pairs" else 1) * 3 * 4

    @model_validator(mode="after")
    def _bounds(self) -> SogCLR:
        low, high = self.temperature_bounds
        if not 0 < low < high:
            raise ValueError(f"temperature_bounds must be 0 < low < high, got {low}, {high}")
        if self.rho is not None and not low <= self.temperature <= high:
            raise ValueError(f"temperature {self.temperature} is outside temperature_bounds [{low}, {high}]")
        return self
