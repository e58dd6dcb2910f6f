"""Options of the Mann-Whitney loss."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from embedkit.recipe.objectives.base import ObjectiveConfig
from embedkit.recipe.objectives.contrastive import Similarity, columns


class MannWhitney(ObjectiveConfig):
    """Every positive score of the batch against every negative one, whatever its query: AUC (arXiv 2510.00137)."""

    in_batch: ClassVar[bool] = True

    name: Literal["mann_whitney"] = "mann_whitney"
    temperature: float = Field(0.01, gt=0, le=10, description="Differences of similarities are divided by it.")
    similarity: Similarity = Field("cos", description="cos normalises the embeddings; dot takes them as they are.")
    reduction: Literal["mean", "sum"] = Field(
        "mean",
        description="mean: over all pairs. sum: over the negatives (the paper's equation 3), which grows with the "
        "square of the batch, gradient included.",
    )

    def columns(self, n: int, p: int, m: int) -> int:
        return columns("q-d", n, p, m)
