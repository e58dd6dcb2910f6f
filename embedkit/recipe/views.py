"""Options of the view transforms: what is done to one view of a text before or inside the encoder."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, SerializeAsAny

from embedkit.recipe.base import Block, validate_named


class TransformConfig(Block):
    """Base of all transforms' options. `level` says where it acts: on the text, on tokens, inside the encoder."""

    level: ClassVar[Literal["text", "tokens", "encoder"]] = "text"
    name: str


def _view(value: Any, info: Any) -> Any:
    return validate_named("view", value, info)


AnyTransform = Annotated[SerializeAsAny[TransformConfig], BeforeValidator(_view)]
