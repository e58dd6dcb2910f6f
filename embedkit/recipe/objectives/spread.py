"""Options of the spread-out term."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from embedkit.recipe.objectives.base import ObjectiveConfig
from embedkit.recipe.objectives.contrastive import Similarity


class SpreadOut(ObjectiveConfig):
    """Mean squared cosine between different texts of one side (EmbeddingGemma); a term for `sum`."""

    name: Literal["spread_out"] = "spread_out"
    of: Literal["both", "query", "document"] = Field(
        "both", description="both: queries, and positives, each among themselves, added (EmbeddingGemma)."
    )

    similarity: Similarity = Field("cos", description="cos normalises the embeddings; dot takes them as they are.")

    def roles(self) -> frozenset[str]:
        return frozenset({"query"}) if self.of == "query" else self.needs

    def columns(self, n: int, p: int, m: int) -> int:
        return max(n, n * p * p)
