"""Options of the batch heads: layers between the gathered batch and the objective, used in training only."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, SerializeAsAny

from embedkit.recipe.base import Block, validate_named


class HeadConfig(Block):
    """Base of all batch heads' options."""

    name: str


def _head(value: Any, info: Any) -> Any:
    return validate_named("head", value, info)


AnyHead = Annotated[SerializeAsAny[HeadConfig], BeforeValidator(_head)]
