"""Options of the auxiliary losses: losses on the encoder's side of the step, over tokens rather than examples."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, SerializeAsAny

from embedkit.recipe.base import Block, validate_named


class AuxiliaryConfig(Block):
    """Base of all auxiliary losses' options."""

    name: str
    weight: float = Field(1.0, gt=0, description="Factor of this loss beside the objective's.")


def _auxiliary(value: Any, info: Any) -> Any:
    return validate_named("auxiliary", value, info)


AnyAuxiliary = Annotated[SerializeAsAny[AuxiliaryConfig], BeforeValidator(_auxiliary)]
