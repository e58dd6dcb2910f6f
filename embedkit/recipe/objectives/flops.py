"""Options of the FLOPS term."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from embedkit.recipe.objectives.base import ObjectiveConfig


class Flops(ObjectiveConfig):
    """Squared mean activation of every coordinate over the batch (Paria et al., SPLADE); a term for `sum`."""

    scope: ClassVar[Literal["row", "batch"]] = "batch"

    name: Literal["flops"] = "flops"
    query: float = Field(3e-4, ge=0, description="Factor of the queries' term; 0 leaves it out (SPLADE-max: 3e-4).")
    document: float = Field(
        1e-4,
        ge=0,
        description="Factor of the term of all documents, explicit negatives included; 0 leaves it out "
        "(SPLADE-max: 1e-4).",
    )
    warmup: int = Field(
        0,
        ge=0,
        description="Batches over which both factors grow from 0, with the square of the step (SPLADE: 50,000). An "
        "update has `train.accumulation` of them.",
    )

    @property
    def weighs(self) -> bool:
        return True

    @property
    def compares(self) -> str | None:
        return None

    def roles(self) -> frozenset[str]:
        return self.needs if self.document else frozenset({"query"})
