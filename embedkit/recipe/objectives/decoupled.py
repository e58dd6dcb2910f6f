"""Options of decoupled contrastive learning."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from embedkit.recipe.objectives.contrastive import Direction, InfoNCE


class DCL(InfoNCE):
    """InfoNCE without the positive in its denominator, made for small batches; with sigma DCLW (Yeh et al. 2022)."""

    name: Literal["dcl"] = "dcl"  # type: ignore[assignment]
    temperature: float = Field(0.1, gt=0, le=10, description="Logits are similarity / temperature.")
    directions: tuple[Direction, ...] = Field(
        ("q-d", "q-q", "d-q", "d-d"),
        min_length=1,
        description="The authors, on two views of one thing: all four, with a loss for queries and one for documents.",
    )
    partition: Literal["joint", "per_direction"] = Field("per_direction", description="As of infonce.")
    positive_in_denominator: Literal["never"] = Field("never", description="What makes it DCL.")
    sigma: float | None = Field(
        None,
        gt=0,
        le=100,
        description="DCLW: a positive weighs 2 - N softmax(similarity / sigma) over the batch (authors: 0.5). None: 1.",
    )
    detach_weights: bool = Field(True, description="Take these weights as constants; False lets gradient through.")
