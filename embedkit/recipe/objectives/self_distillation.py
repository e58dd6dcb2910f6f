"""Options of the objectives without negatives in which one view says what another should: SwAV, BYOL."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

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


class BECLR(BYOL):
    """BYOL's agreement, also with neighbours from a clustered memory, and views spread out (BECLR, ICLR 2024)."""

    remembers: ClassVar[bool] = True
    state_of: ClassVar[str] = "in all"
    without_negatives: ClassVar[bool] = False

    name: Literal["beclr"] = "beclr"  # type: ignore[assignment]
    momentum: float | None = Field(
        0.9, ge=0, lt=1, description="Of the copy, as in byol; null: the encoder itself, as a constant."
    )
    weight: float = Field(0.1, ge=0, description="Of the term that spreads the views of different texts.")
    temperature: float = Field(2.0, gt=0, le=10, description="Divides the cosines of that term.")
    memory: int = Field(2000, ge=0, description="Newest texts that neighbours come from; 0: no neighbours.")
    clusters: int = Field(100, ge=1, description="Of equal size, in the memory; 1: plain nearest neighbours.")
    neighbours: int = Field(10, ge=1, description="More positives of every view, once the memory is full.")
    start: int = Field(0, ge=0, description="First step with neighbours (the authors: after 50 epochs).")
    every: int = Field(200, ge=1, description="Steps between clusterings (the authors: 60 epochs).")

    def sees(self, n: int, p: int, m: int) -> str:
        near = (
            f" and up to {self.neighbours} neighbours of it from {self.memory:,} earlier texts" if self.memory else ""
        )
        return f"{super().sees(n, p, m)[len('no negatives; ') :]}{near}; spread out from {n - 1} examples, no softmax"

    def columns(self, n: int, p: int, m: int) -> int:
        return (1 + p) * (n * (1 + p) + self.memory)

    def state_bytes(self, dim: int) -> int:
        return self.memory * (4 * dim + 16) + self.clusters * 4 * dim if self.memory else 0

    @model_validator(mode="after")
    def _neighbours_are_there(self) -> BECLR:
        if self.memory and self.memory <= max(self.neighbours, self.clusters):
            raise ValueError(
                f"memory {self.memory} must be larger than neighbours {self.neighbours} and clusters {self.clusters}"
            )
        return self
