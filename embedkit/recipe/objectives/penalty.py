"""Options of InfoNCE with a penalty on negatives that leave their own queries."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from embedkit.recipe.objectives.contrastive import InfoNCE


class CLP(InfoNCE):
    """InfoNCE that keeps every hard negative near a query it answers (contrastive learning penalty, 2024)."""

    needs: ClassVar[frozenset[str]] = frozenset({"query", "positive", "negative"})

    name: Literal["clp"] = "clp"  # type: ignore[assignment]
    penalty: float = Field(0.1, ge=0, le=1, description="Share of the penalty; InfoNCE has the rest.")

    def columns(self, n: int, p: int, m: int) -> int:
        return super().columns(n, p, m // 2)
