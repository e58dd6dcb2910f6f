"""Options of the rank term."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from embedkit.recipe.objectives.base import ObjectiveConfig


class Rank(ObjectiveConfig):
    """Entropy of the batch's spectrum, or its exponential, the effective rank: a term for `sum` (ours, RR-style)."""

    scope: ClassVar[Literal["row", "batch"]] = "batch"
    needs: ClassVar[frozenset[str]] = frozenset({"query"})

    @property
    def weighs(self) -> bool:
        return True

    name: Literal["rank"] = "rank"
    quantity: Literal["entropy", "effective_rank"] = Field(
        "entropy", description="entropy: von Neumann's H, natural logarithm. effective_rank: exp(H)."
    )
    of: Literal["query", "all"] = Field(
        "query", description="query: one row per example. all: positives and explicit negatives too."
    )
