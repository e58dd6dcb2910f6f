"""Options of the objectives without negatives in which one view says what another should: SwAV, BYOL."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from embedkit.foreign.limits import WIDTH
from embedkit.recipe.objectives.base import ObjectiveConfig


class SwAV(ObjectiveConfig):
    """Each view predicts the cluster of the other, clusters being equally full over the batch (arXiv 2006.09882)."""

    sized: ClassVar[bool] = True
    remembers: ClassVar[bool] = True
    explicit: ClassVar[bool] = False
    without_negatives: ClassVar[bool] = True

    name: Literal["swav"] = "swav"
    prototypes: int = Field(
        300, ge=2, le=WIDTH, description="Clusters; half as many as texts that share them or fewer (the authors: 3000)."
    )
    temperature: float = Field(0.1, gt=0, le=10, description="Of the predictions.")
    epsilon: float = Field(0.05, gt=0, le=10, description="Smoothness of the codes; small: one cluster for each text.")
    iterations: int = Field(3, ge=1, le=1000, description="Sinkhorn's; the last one makes each text's code sum to 1.")
    queue: int = Field(
        640, ge=0, description="Earlier examples that share the clusters with those of the batch (the authors: 3840)."
    )
    code_views: int = Field(2, ge=1, description="How many views, of the first, have codes; each predicts all of them.")
    freeze: int = Field(0, ge=0, description="Steps before the prototypes train (the authors: 313, an epoch).")

    @property
    def compares(self) -> str:
        return "cosine"

    def sees(self, n: int, p: int, m: int) -> str:
        kept = f" and up to {self.queue:,} earlier ones" if self.queue else ""
        return f"no negatives; {self.prototypes:,} prototypes, shared equally by {n} examples of the batch{kept}"

    def columns(self, n: int, p: int, m: int) -> int:
        return (1 + p) * self.prototypes

    def state_bytes(self, dim: int) -> int:
        return self.queue * self.code_views * 4 * dim


class BYOL(ObjectiveConfig):
    """Each view, through a predictor, meets the other as a slow copy of the encoder embeds it (arXiv 2006.07733)."""

    scope: ClassVar[Literal["row", "batch"]] = "batch"
    sized: ClassVar[bool] = True
    explicit: ClassVar[bool] = False
    without_negatives: ClassVar[bool] = True

    name: Literal["byol"] = "byol"
    momentum: float | None = Field(
        0.996,
        ge=0,
        lt=1,
        description="Of the copy, copy = momentum copy + (1 - momentum) encoder after every update, without dropout. "
        "null: the encoder itself, as a constant (SimSiam).",
    )
    hidden: int | None = Field(
        None, gt=0, le=WIDTH, description="Width of the predictor; twice the embedding's when null (the authors: 4096)."
    )
    batch_norm: bool = Field(True, description="Whether the predictor normalises its hidden layer over the batch.")

    @property
    def weighs(self) -> bool:
        return True

    @property
    def target_momentum(self) -> float | None:
        return self.momentum

    def sees(self, n: int, p: int, m: int) -> str:
        by = "the encoder, as constants" if self.momentum is None else "a slow copy of the encoder"
        return f"no negatives; its other views as embedded by {by}"
