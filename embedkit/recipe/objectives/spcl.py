"""Options of supervised prototypical contrastive learning."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from embedkit.recipe.objectives.base import ObjectiveConfig


class SPCL(ObjectiveConfig):
    """Labelled texts against each other and a prototype per class, the mean of remembered texts (EMNLP 2022)."""

    needs: ClassVar[frozenset[str]] = frozenset({"query", "label"})
    remembers: ClassVar[bool] = True
    state_of: ClassVar[str] = "per class"

    name: Literal["spcl"] = "spcl"
    temperature: float = Field(0.05, gt=0, le=10, description="Logits are (1 + cosine) / 2 / temperature.")
    pool: int = Field(256, ge=1, description="Texts remembered per class.")
    support: int = Field(64, ge=1, description="Of them, drawn in every step, a class's prototype is the mean.")
    ignore_below: float = Field(
        0.3,
        ge=0,
        description="Rows with a loss up to this do not count (released code; not in the formula); 0: all do.",
    )

    def state_bytes(self, dim: int) -> int:
        return self.pool * (4 * dim + 8)

    def columns(self, n: int, p: int, m: int) -> int:
        return n
