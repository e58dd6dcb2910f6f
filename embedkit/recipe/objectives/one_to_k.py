"""Options of the 1-to-K loss."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from embedkit.recipe.objectives.base import ObjectiveConfig


class OneToK(ObjectiveConfig):
    """One query and K documents that say the same, such as its translations, in one softmax (Nie et al. 2024)."""

    in_batch: ClassVar[bool] = True
    name: Literal["one_to_k"] = "one_to_k"
    temperature: float = Field(0.07, gt=0, le=10, description="Logits are cosines / temperature.")
    divide: bool = Field(True, description="Divide the loss by K, as the authors' code does by default.")
    back_weight: float = Field(
        1.0, ge=0, description="Of the documents' direction, which is a mean over K: K makes both pull alike."
    )

    def columns(self, n: int, p: int, m: int) -> int:
        return n * (p + m)
