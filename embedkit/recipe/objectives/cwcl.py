"""Options of continuously weighted contrast."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from embedkit.recipe.objectives.base import ObjectiveConfig


class CWCL(ObjectiveConfig):
    """Every document of the batch is a positive by the frozen guide's similarity (Srinivasa et al. 2023)."""

    name: Literal["cwcl"] = "cwcl"
    temperature: float = Field(0.07, gt=0, le=10, description="Logits are cosines / temperature.")
    of: Literal["query", "document"] = Field(
        "document", description="Whose vectors of the `guide` model compare a row with the candidates."
    )
    reverse: float = Field(1.0, ge=0, description="Weight of the plain cross-entropy of documents against queries.")
    teacher_temperature: float | None = Field(
        None,
        gt=0,
        le=10,
        description="Weights are a softmax of the guide's cosines / this (ours). null: (1 + cosine) / 2, nearly even.",
    )

    @property
    def needs_guide(self) -> bool:
        return True

    def sees(self, n: int, p: int, m: int) -> str:
        back = f"; from its document {n - 1} queries of others" if self.reverse else ""
        return f"{n * (1 + m)} documents, each a positive by the guide's similarity{back}"

    def columns(self, n: int, p: int, m: int) -> int:
        return n * (p + m)
