"""What every block of a recipe shares: closed (a typo is an error), frozen, strict about types."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from embedkit.disk.paths import Kind
from embedkit.errors import RecipeError
from embedkit.foreign.limits import CHARACTERS, NAME, NUMBER, WHOLE
from embedkit.recipe import registry

UNKNOWN_NAME = "unknown_name"
"""Type of the error about a ``name:`` that nothing has registered."""


class Block(BaseModel):
    """A recipe block. Unknown keys are refused; a string is never taken for a number, nor a number for a bool.
    Texts are names within `NAME` characters unless a block says otherwise."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False, str_max_length=NAME)

    @model_validator(mode="before")
    @classmethod
    def _lists_are_tuples(cls, value: Any) -> Any:
        return _tuples(value)

    @field_validator("*")
    @classmethod
    def _numbers_are_within_reach(cls, value: Any) -> Any:
        """What is counted in 64 bits and computed in float32 can hold them; closer bounds stand at the fields."""
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, int) and abs(number) > WHOLE:
                raise invalid(f"a whole number beyond {WHOLE}", "write a smaller one")
            if isinstance(number, float) and abs(number) > NUMBER:
                raise invalid(f"a number beyond {NUMBER:g}", "write a smaller one")
        return value


@dataclass(frozen=True)
class Leads:
    """Marks a field as a path: ``guide: Annotated[str | None, Leads("folder")]``. It is settled after reading and
    re-anchored where another recipe extends its own; see `embedkit.disk.paths`."""

    kind: Kind


@dataclass(frozen=True)
class Holds:
    """Marks a field whose texts hold paths among other things: ``filters: Annotated[tuple[str, ...], Holds(...)]``.
    These are treated as those of `Leads`.

    Attributes:
        paths_of: a text -> its paths and what they lead to, by names that are unique in it; none of a text that is
            wrong.
        with_paths: a text and other paths by those names -> the text that holds these.
    """

    paths_of: Callable[[str], Mapping[str, tuple[str, Kind]]]
    with_paths: Callable[[str, Mapping[str, str]], str]


LONG_TEXTS = ConfigDict(str_max_length=CHARACTERS)
"""`model_config` of a block whose texts are put before or around inputs."""


def _tuples(value: Any) -> Any:
    """YAML gives lists, frozen blocks hold tuples; strict mode would refuse the one for the other."""
    if isinstance(value, (list, tuple)):
        return tuple(_tuples(v) for v in value)
    if isinstance(value, dict):
        return {k: _tuples(v) for k, v in value.items()}
    return value


def invalid(what: str, cure: str) -> PydanticCustomError:
    """What a validator raises when it can name the cure."""
    return PydanticCustomError("invalid", "{what}", {"what": what, "cure": cure})


def validate_named(kind: registry.Kind, value: Any, info: ValidationInfo) -> Any:
    """Validate ``{name: ..., **options}`` with the config class that the registry holds for the name."""
    if isinstance(value, BaseModel):
        return value
    if isinstance(value, str):
        value = {"name": value}
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        raise PydanticCustomError(
            UNKNOWN_NAME,
            "expected a mapping with a `name`",
            {"cure": f"write `name: ...`; known: {', '.join(registry.names(kind))}"},
        )
    try:
        entry = registry.lookup(kind, value["name"])
    except RecipeError as error:
        raise PydanticCustomError(UNKNOWN_NAME, "{what}", {"what": error.what, "cure": error.cure}) from error
    return registry.resolve(entry.config).model_validate(value)
