"""Options of the objectives on scored pairs and triplets, and of the distillations."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from embedkit.recipe.objectives.base import ObjectiveConfig
from embedkit.recipe.objectives.contrastive import Similarity


class CoSENT(ObjectiveConfig):
    """Ranking of pair cosines by graded score: log(1 + sum exp(scale (c_m - c_n))) over score_m < score_n."""

    needs: ClassVar[frozenset[str]] = frozenset({"query", "positive", "score"})
    scope: ClassVar[Literal["row", "batch"]] = "batch"
    name: Literal["cosent"] = "cosent"
    scale: float = Field(20.0, gt=0, description="Multiplies the cosine differences; 1 / temperature.")


class AnglE(ObjectiveConfig):
    """CoSENT on the AnglE similarity in complex space (arXiv 2309.12871): the angle term only."""

    needs: ClassVar[frozenset[str]] = frozenset({"query", "positive", "score"})
    scope: ClassVar[Literal["row", "batch"]] = "batch"
    name: Literal["angle"] = "angle"
    scale: float = Field(20.0, gt=0, description="Multiplies the similarity differences.")


class CosineMSE(ObjectiveConfig):
    """Mean squared error between the pair's cosine and its score (scores on the cosine's scale)."""

    needs: ClassVar[frozenset[str]] = frozenset({"query", "positive", "score"})
    name: Literal["cosine_mse"] = "cosine_mse"


class ContrastiveTension(ObjectiveConfig):
    """Binary cross-entropy of sigmoid(dot product) against a score in 0..1 (Carlsson et al. 2021)."""

    needs: ClassVar[frozenset[str]] = frozenset({"query", "positive", "score"})
    name: Literal["contrastive_tension"] = "contrastive_tension"

    @property
    def compares(self) -> str:
        return "dot"


class Triplet(ObjectiveConfig):
    """max(0, a d(q, p) - b d(q, n) + margin), averaged over the row's explicit negatives."""

    needs: ClassVar[frozenset[str]] = frozenset({"query", "positive", "negative"})
    name: Literal["triplet"] = "triplet"
    margin: float = Field(5.0, ge=0, description="5 suits euclidean, about 0.2 suits cosine.")
    distance: Literal["euclidean", "cosine"] = Field(
        "euclidean", description="euclidean: on embeddings as they are; cosine: minus the cosine."
    )
    positive_weight: float = Field(1.0, gt=0, description="a: multiplies the distance to the positive.")
    negative_weight: float = Field(1.0, gt=0, description="b: multiplies the distance to the negative.")

    @property
    def compares(self) -> str:
        return self.distance


class MarginMSE(ObjectiveConfig):
    """Squared error of the margin s(q, p) - s(q, n) against the teacher's margin (Hofstätter et al. 2020)."""

    needs: ClassVar[frozenset[str]] = frozenset({"query", "positive", "negative", "score"})
    takes_pairs: ClassVar[bool] = True
    name: Literal["margin_mse"] = "margin_mse"
    similarity: Similarity = Field("dot", description="Similarity of the student.")


class KLDistillation(ObjectiveConfig):
    """KL(teacher || student) over the row's own candidates [positive, negatives], both with softmax."""

    needs: ClassVar[frozenset[str]] = frozenset({"query", "positive", "negative", "score"})
    takes_pairs: ClassVar[bool] = True
    name: Literal["kl"] = "kl"
    similarity: Similarity = Field("cos", description="Similarity of the student.")
    temperature: float = Field(0.05, gt=0, description="Temperature of the student's softmax.")
    teacher_temperature: float = Field(1.0, gt=0, description="Temperature of the teacher's softmax.")
    rescale: bool = Field(
        False,
        description="Multiply by the student's temperature squared (Hinton; sentence-transformers). With a sharp "
        "temperature this makes the loss tiny; BGE and LLM-R do not.",
    )
