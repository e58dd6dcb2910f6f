"""Options of the objectives on negatives that are the text with a small edit: FSC-CLIP, VFC."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from embedkit.recipe.objectives.base import ObjectiveConfig
from embedkit.recipe.objectives.candidates import CandidateConfig
from embedkit.recipe.objectives.contrastive import Similarity, columns


class FocalSmoothed(CandidateConfig):
    """Focal cross-entropy with smoothed targets against the row's own edited negatives (FSC-CLIP, arXiv 2410.05210)."""

    name: Literal["focal_smoothed"] = "focal_smoothed"
    temperature: float = Field(0.05, gt=0, le=10, description="Divides the scores. 1 suits a reranker.")
    gamma: float = Field(2.0, ge=0, le=10, description="Of the focal factor (1 - p)^gamma; 0: none.")
    smoothing: float = Field(
        0.02, ge=0, lt=1, description="Share of the target that positive and negatives share equally."
    )
    absent: Literal["mask", "zero"] = Field(
        "mask",
        description="A negative that a row lacks takes no part (mask), or competes with score 0 as in the released "
        "code (zero).",
    )


class HardNegativeNCE(ObjectiveConfig):
    """InfoNCE on own negatives, both directions divided by the log of their candidates (VFC, arXiv 2304.06708)."""

    in_batch: ClassVar[bool] = True

    name: Literal["hard_negative_nce"] = "hard_negative_nce"
    temperature: float = Field(
        0.05, gt=0, le=10, description="Logits are similarity / temperature (the authors: 0.005)."
    )
    similarity: Similarity = Field("cos", description="cos normalises the embeddings; dot takes them as they are.")
    query_weight: float = Field(0.5, ge=0, description="Of the queries against positives and their own negatives.")
    document_weight: float = Field(1.0, ge=0, description="Of the positives against all queries; 0: left out.")
    beta: float = Field(0.0, ge=0, description="Negatives of a query weigh by e^(beta logit), their mean weight is 1.")
    normalize: bool = Field(True, description="False: the parts are not divided by the logs of their candidates.")
    mask_duplicates: bool = Field(True, description="Candidates whose text is known to match are no negatives.")

    def columns(self, n: int, p: int, m: int) -> int:
        return max(columns("q-d", n, p, m), columns("d-q", n, p, m))

    @model_validator(mode="after")
    def _weighs_something(self) -> HardNegativeNCE:
        if not self.query_weight and not self.document_weight:
            raise ValueError("query_weight and document_weight are both 0: nothing is left of the loss")
        return self
