"""Options of the batch heads: layers between the gathered batch and the objective, used in training only."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, SerializeAsAny

from embedkit.foreign.limits import WIDTH
from embedkit.recipe.base import Block, validate_named


class HeadConfig(Block):
    """Base of all batch heads' options."""

    name: str


def _head(value: Any, info: Any) -> Any:
    return validate_named("head", value, info)


AnyHead = Annotated[SerializeAsAny[HeadConfig], BeforeValidator(_head)]


class BatchNormProjector(HeadConfig):
    """Linear, batch norm, ReLU, Linear, batch norm without scale and shift (DiffCSE's projector)."""

    name: Literal["batch_norm_projector"] = "batch_norm_projector"
    hidden: int | None = Field(
        None, gt=0, le=WIDTH, description="Size between the layers; twice the input when absent."
    )
    dim: int | None = Field(None, gt=0, le=WIDTH, description="Output size; the input's when absent.")


class ShuffledGroupWhitening(HeadConfig):
    """Coordinates shuffled, cut into groups, whitened per group over the batch, and put back (WhitenedCSE)."""

    name: Literal["shuffled_group_whitening"] = "shuffled_group_whitening"
    groups: int = Field(128, ge=1, description="Must divide the embedding size. 128 of 768: six coordinates per group.")
    eps: float = Field(
        1e-5, ge=0, lt=1, description="Added to the variances; the reference has 0. Needed where a batch is small."
    )
    permutation: Literal["per_view", "shared"] = Field(
        "per_view", description="per_view: every view is shuffled differently (the paper). shared: all alike."
    )
    gradient: Literal["detached", "attached"] = Field(
        "detached", description="Whether gradient flows through the whitening matrix; the released code has none."
    )


class MLP(HeadConfig):
    """Linear and an activation, initialised like BERT: N(0, 0.02), bias 0."""

    name: Literal["mlp"] = "mlp"
    dim: int | None = Field(None, gt=0, le=WIDTH, description="Output size; the input's when absent.")
    activation: Literal["tanh", "relu", "gelu", "identity"] = Field("tanh", description="After the linear layer.")
