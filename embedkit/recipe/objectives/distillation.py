"""Options of the objectives that follow a teacher's scores of a row's own candidates."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from embedkit.recipe.objectives.base import ObjectiveConfig
from embedkit.recipe.objectives.contrastive import Similarity, columns


class SymmetricKL(ObjectiveConfig):
    """(KL(teacher || student) + KL(student || teacher)) / 2 over the row's own candidates (UniME-V2, 2025)."""

    needs: ClassVar[frozenset[str]] = frozenset({"query", "positive", "negative", "score"})
    takes_pairs: ClassVar[bool] = True
    name: Literal["symmetric_kl"] = "symmetric_kl"
    similarity: Similarity = Field("cos", description="Similarity of the student.")
    temperature: float = Field(0.02, gt=0, le=10, description="Of both softmaxes; the judge's scores are in 0..1.")
    epsilon: float = Field(
        1e-8, ge=0, lt=1, description="Added to the probabilities inside the logarithms, which bounds both divergences."
    )


class PartialRank(ObjectiveConfig):
    """Each of a row's own candidates against those that the teacher ranks below it and the rest of the batch (ours)."""

    needs: ClassVar[frozenset[str]] = frozenset({"query", "positive", "negative", "score"})
    in_batch: ClassVar[bool] = True
    name: Literal["partial_rank"] = "partial_rank"
    similarity: Similarity = Field("cos", description="Similarity of the student.")
    temperature: float = Field(0.05, gt=0, le=10, description="Logits are similarity / temperature.")
    top: int | None = Field(
        None,
        ge=1,
        le=1024,
        description="The teacher's best that are put in order, the rest only lose; None: all.",
    )
    order: Literal["score", "given"] = Field(
        "score", description="score: the teacher's order. given: the positive first, then the negatives as they come."
    )
    weights: Literal["equal", "teacher"] = Field(
        "equal", description="teacher: a candidate's term weighs the softmax of its score (BGE-M3)."
    )
    teacher_temperature: float = Field(1.0, gt=0, description="Of the softmax of weights: teacher.")

    def columns(self, n: int, p: int, m: int) -> int:
        return max(columns("q-d", n, p, m), (1 + m) ** 2)
