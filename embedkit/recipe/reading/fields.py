"""What the schema says about a place in a recipe: valid keys, type in words, bounds, default, description.

A place is reached by walking the schema and the written value together, because the value decides which class
stands at a place (``name: cosent`` picks CoSENT's options, ``type: sts`` a task).
"""

from __future__ import annotations

import difflib
import types
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from embedkit.errors import RecipeError
from embedkit.foreign.limits import COMPARED_CHARACTERS
from embedkit.recipe import registry
from embedkit.recipe.auxiliary import AuxiliaryConfig
from embedkit.recipe.heads import HeadConfig
from embedkit.recipe.objectives.base import ObjectiveConfig
from embedkit.recipe.reading.tree import Node
from embedkit.recipe.views import TransformConfig
from embedkit.recipe.weighting import WeightingConfig

Key = str | int
_WORDS = {str: "text", int: "a whole number", float: "a number", bool: "true or false", type(None): "null"}
_PLURAL = {"text": "texts", "a whole number": "whole numbers", "a number": "numbers", "a mapping": "mappings"}
_NAMED: dict[type[BaseModel], registry.Kind] = {
    ObjectiveConfig: "objective",
    WeightingConfig: "weighting",
    HeadConfig: "head",
    TransformConfig: "view",
    AuxiliaryConfig: "auxiliary",
}
SYNONYMS = {
    "lr": "learning_rate",
    "num_train_epochs": "epochs",
    "max_steps": "steps",
    "per_device_train_batch_size": "batch_size",
    "gradient_accumulation_steps": "accumulation",
    "warmup_ratio": "warmup",
    "warmup_steps": "warmup",
    "lr_scheduler_type": "schedule",
    "mini_batch_size": "tokens_per_micro_batch",
    "logging_steps": "log_every",
    "save_steps": "save_every",
    "eval_steps": "every",
    "max_seq_length": "max_length",
    "model_name_or_path": "base",
    "pooling_mode": "pooling",
    "temp": "temperature",
    "tau": "temperature",
    "bf16": "precision",
    "loss": "objective",
    "dataset": "data",
    "anchor": "query",
    "hard_negatives": "negative",
    "negatives": "negative",
}
"""Other tools' names for our keys."""


@dataclass(frozen=True)
class Place:
    """A place in the schema.

    Attributes:
        annotation: the type that belongs here.
        field: the nearest field above, for default and description.
        value: what the recipe says here, if anything.
        element: whether this is an element of the field's value rather than the field itself.
    """

    annotation: Any
    field: FieldInfo | None = None
    value: Any = None
    element: bool = False

    @classmethod
    def find(cls, root: type[BaseModel], tree: Node, path: Sequence[Key]) -> Place | None:
        """The place at `path`; None where the schema has none."""
        place: Place | None = cls(root, value=tree.plain())
        for key in path:
            place = place.child(key) if place else None
        return place

    def child(self, key: Key) -> Place | None:
        inside = self.value
        value: Any = None
        if isinstance(inside, dict):
            value = inside.get(key)
        elif isinstance(inside, list) and isinstance(key, int) and key < len(inside):
            value = inside[key]
        for option in _options(self.annotation):
            origin, args = get_origin(option), get_args(option)
            if origin is tuple and isinstance(key, int):
                kind = args[0] if len(args) == 2 and args[1] is Ellipsis else args[min(key, len(args) - 1)]
                return replace(self, annotation=kind, value=value, element=True)
            if origin is dict:
                return replace(self, annotation=args[1], value=value, element=True)
        for block in self.blocks():
            if key in block.model_fields:
                field = block.model_fields[str(key)]
                return Place(field.annotation, field, value)
        return None

    def blocks(self) -> list[type[BaseModel]]:
        """The classes whose keys may stand here, narrowed by what the value says."""
        found = [o for o in _options(self.annotation) if isinstance(o, type) and issubclass(o, BaseModel)]
        found = [_named(block, self.value) for block in found]
        tag = self.value.get("type") if isinstance(self.value, dict) else None
        tagged = [b for b in found if "type" in b.model_fields and b.model_fields["type"].default == tag]
        return tagged or found

    def named(self) -> registry.Kind | None:
        """The registered kind that belongs here, if one does: a mapping with a `name`, or the name alone."""
        for option in _options(self.annotation):
            if option in _NAMED:
                return _NAMED[option]
        return None

    def keys(self) -> list[str]:
        """Valid keys of a mapping here; roles and other dict keys included."""
        keys = [key for block in self.blocks() for key in block.model_fields]
        for option in _options(self.annotation):
            if get_origin(option) is dict:
                keys += choices(get_args(option)[0])
        return keys

    def words(self) -> str:
        """The type in words, bounds included."""
        return _words(self.annotation) + (_bounds(self.field) if self.field and not self.element else "")

    def help(self) -> str:
        """Type, bounds, default and description of the nearest field, for a cure."""
        if self.field is None:
            return ""
        default = self.default()
        text = f": {self.field.description}" if self.field.description else ""
        return f"{_words(self.field.annotation)}{_bounds(self.field)}{f'; default {default}' if default else ''}{text}"

    def default(self) -> str:
        """The default of the nearest field as YAML would write it; empty where there is none or it is a block."""
        value = (
            PydanticUndefined
            if self.field is None
            else self.field.get_default(call_default_factory=True, validated_data={})
        )
        return "" if value is PydanticUndefined or isinstance(value, BaseModel) else show(value)


def choices(annotation: Any) -> list[Any]:
    """The values of every Literal in an annotation."""
    return [v for option in _options(annotation) if get_origin(option) is Literal for v in get_args(option)]


def nearest(word: str, known: Sequence[str], default: str | None = None) -> str | None:
    """The known word most like `word`, other tools' names included."""
    if SYNONYMS.get(word) in known:
        return SYNONYMS[word]
    word = word[:COMPARED_CHARACTERS]
    close = difflib.get_close_matches(word, known, n=1) or difflib.get_close_matches(word.lower(), known, n=1)
    return close[0] if close else default


def elsewhere(root: type[BaseModel], key: str, block: Sequence[Key] = ()) -> str | None:
    """A place where `key`, or what other tools mean by it, is valid: ``train.batch_size``.

    A place in the first element of a list below `block` comes first (``data.sources.0.encoding`` for a key of `data`),
    then one outside lists, in a block that every recipe has before one that it may lack, then one in any list. What
    lies inside a block's own optional block (``train.prograd.temperature``) is meant by who writes in that block alone.
    """
    wanted = {key, SYNONYMS.get(key, key)}
    below = f"{'.'.join(map(str, block))}." if block else None
    named = [path for path in _paths(root, "") if path.rpartition(".")[2] in wanted]
    found = [path for path in named if (below and path.startswith(below)) or not _in_an_extra(root, path)]

    def rank(path: str) -> int:
        if below and path.startswith(below):
            return 3
        sure = root.model_fields[path.partition(".")[0]].default is not None
        return 0 if ".0." in path else 1 + sure

    return max(found, key=rank, default=None)


def _in_an_extra(root: type[BaseModel], path: str) -> bool:
    """Whether the place lies in a block that its own block has only where somebody asks for it."""
    first, *inner = path.split(".")
    blocks = [
        o for o in _options(root.model_fields[first].annotation) if isinstance(o, type) and issubclass(o, BaseModel)
    ]
    if len(inner) < 2 or not blocks or inner[0] not in blocks[0].model_fields:
        return False
    return blocks[0].model_fields[inner[0]].default is None


def show(value: Any) -> str:
    """A value as YAML would write it, shortened."""
    if value is None or isinstance(value, bool):
        text = {None: "null", True: "true", False: "false"}[value]
    elif isinstance(value, str):
        text = repr(value)
    elif isinstance(value, (list, tuple)):
        text = f"[{', '.join(show(v) for v in value)}]"
    elif isinstance(value, dict):
        text = f"{{{', '.join(f'{k}: {show(v)}' for k, v in value.items())}}}"
    else:
        text = str(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _paths(block: type[BaseModel], prefix: str) -> Iterator[str]:
    for name, field in block.model_fields.items():
        yield prefix + name
        for option in _options(field.annotation):
            if isinstance(option, type) and issubclass(option, BaseModel):
                yield from _paths(option, f"{prefix}{name}.")
            elif get_origin(option) is tuple:
                for element in _options(get_args(option)[0]):
                    if isinstance(element, type) and issubclass(element, BaseModel):
                        yield from _paths(element, f"{prefix}{name}.0.")


def _options(annotation: Any) -> list[Any]:
    """The members of a union, Annotated and nesting removed."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _options(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return [option for arg in get_args(annotation) for option in _options(arg)]
    return [annotation]


def _named(block: type[BaseModel], value: Any) -> type[BaseModel]:
    """The options class that `name` stands for; the base class where the name is unknown."""
    name = value.get("name") if isinstance(value, dict) else None
    if block not in _NAMED or not isinstance(name, str):
        return block
    try:
        config: type[BaseModel] = registry.resolve(registry.lookup(_NAMED[block], name).config)
    except RecipeError:  # reported where the name stands
        return block
    return config


def _words(annotation: Any) -> str:
    parts: list[str] = []
    for option in _options(annotation):
        origin, args = get_origin(option), get_args(option)
        if origin is Literal:
            parts.append(("one of " if len(args) > 1 else "") + ", ".join(map(str, args)))
        elif origin is tuple and Ellipsis not in args:
            parts.append(f"a list of {len(args)}")
        elif origin is tuple:
            inner = _words(args[0])
            parts.append(f"a list of {_PLURAL[inner]}" if inner in _PLURAL else f"a list ({inner} each)")
        elif origin is dict or (isinstance(option, type) and issubclass(option, BaseModel)):
            parts.append("a mapping")
        else:
            parts.append(_WORDS.get(option, "any value"))
    return " or ".join(dict.fromkeys(parts))


def bound(value: float) -> str:
    """A bound as a recipe would write it."""
    return str(value) if isinstance(value, int) else f"{value:g}"


def _bounds(field: FieldInfo | None) -> str:
    """``, > 0 and <= 1`` from the field's constraints."""
    found = []
    for item in field.metadata if field else ():
        for name, sign in (("gt", ">"), ("ge", ">="), ("lt", "<"), ("le", "<=")):
            if getattr(item, name, None) is not None:
                found.append(f"{sign} {bound(getattr(item, name))}")
        if getattr(item, "min_length", None):
            found.append(f"at least {item.min_length}")
    return f", {' and '.join(found)}" if found else ""
