"""Options of the contrastive objectives on texts with a number each: ConR, SupReMix."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from embedkit.recipe.objectives.base import ObjectiveConfig


class _Graded(ObjectiveConfig):
    """Single texts, one score each, and as many views as there are."""

    needs: ClassVar[frozenset[str]] = frozenset({"query", "score"})
    in_batch: ClassVar[bool] = True
    explicit: ClassVar[bool] = False


class ConR(_Graded):
    """A regression of the score, and apart what it takes for alike and the scores do not (ConR, ICLR 2024)."""

    sized: ClassVar[bool] = True

    name: Literal["conr"] = "conr"
    temperature: float = Field(0.07, gt=0, le=10, description="Logits are cosine / temperature.")
    window: float = Field(1.0, ge=0, description="Scores this near are alike, and so are predictions.")
    steepness: float = Field(0.01, ge=0, description="Negatives weigh e^(this * gap of the scores).")
    weight: float = Field(4.0, ge=0, description="Factor of the contrastive term beside the regression's error.")
    error: Literal["absolute", "squared"] = Field("absolute", description="Of the regression, a linear layer.")

    def meets(self, n: int, p: int) -> tuple[int, str]:
        return (n - 1) * (1 + p), "those with a score near its own, and those that the regression tells apart"

    def columns(self, n: int, p: int, m: int) -> int:
        return (1 + p) * n * (1 + p)


class SupReMix(_Graded):
    """Contrast by distance of the scores, with mixtures of texts as more positives and negatives (arXiv 2309.16633)."""

    name: Literal["supremix"] = "supremix"
    temperature: float = Field(0.1, gt=0, le=10, description="Logits are dot products of unit vectors / temperature.")
    distance: Literal["absolute", "squared"] = Field(
        "absolute", description="In the denominator a text weighs 1 + the gap of the scores, or 1 + its square."
    )
    mix: bool = Field(True, description="Whether there are mixtures.")
    window: float = Field(
        1.0, gt=0, description="Positive mixtures are of two texts, below and above, whose scores are nearer than this."
    )
    alpha: tuple[float, float] = Field(
        (2.0, 8.0), description="Beta distribution of the anchor's share in negative mixtures; drawn for each anchor."
    )
    bins: float | None = Field(
        None, gt=0, description="Scores are rounded to multiples of this, as only equal ones are positives; null: not."
    )

    def meets(self, n: int, p: int) -> tuple[int, str]:
        return (n - 1) * (1 + p), "those with its score"

    def columns(self, n: int, p: int, m: int) -> int:
        views = n * (1 + p)
        return (1 + p) * (views * (views + 2) if self.mix else views)
