"""Changes to the backbone: dropout rate, frozen parts."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from torch import nn

from embedkit.errors import RecipeError
from embedkit.model.reading.structure import is_embedding, layers


def _is_rate(name: str, value: Any) -> bool:
    """Whether an attribute is a dropout rate; layerdrop and classifier heads are something else."""
    rate = isinstance(value, (int, float)) and not isinstance(value, bool)
    return rate and ("dropout" in name or name.endswith("_pdrop")) and "classif" not in name


def dropout_places(backbone: nn.Module) -> list[tuple[nn.Module, str]]:
    """Where a transformers model keeps its dropout rates, attention included: modules and names of attributes.

    Some models hold a rate in an `nn.Dropout`, others as a plain number that they hand to the attention function.
    """
    found: list[tuple[nn.Module, str]] = []
    for module in backbone.modules():
        if isinstance(module, nn.Dropout):
            found.append((module, "p"))
        else:
            found += [(module, name) for name, value in vars(module).items() if _is_rate(name, value)]
    return found


def set_dropout(backbone: nn.Module, rate: float) -> int:
    """Set every dropout rate of a transformers model, and those of its config, so that a saved model tells the truth.

    Returns:
        How many rates were set in modules.

    Raises:
        RecipeError: the model has no dropout to set.
    """
    places = dropout_places(backbone)
    for module, name in places:
        setattr(module, name, rate)
    config = getattr(backbone, "config", None)
    for name, value in list(vars(config).items()) if config is not None else ():
        if _is_rate(name, value):
            setattr(config, name, rate)
    if not places:
        raise RecipeError(
            f"{type(backbone).__name__} has no dropout", where="model.dropout", cure="leave model.dropout out"
        )
    return len(places)


def freeze(backbone: nn.Module, parts: Iterable[str]) -> list[str]:
    """Switch off the gradient of parts of the backbone.

    When everything below a layer is frozen too, autograd keeps no graph there: embeddings and the first layers
    frozen together cost a forward pass only.

    Args:
        backbone: the transformers model.
        parts: `embeddings`, `layers:A-B` or `layers:A` (inclusive, from 0), `all`, or the beginning of a
            parameter's name (whole dotted parts).

    Returns:
        Names of the frozen parameters.

    Raises:
        RecipeError: a part names nothing; the message lists what there is.
    """
    frozen: list[str] = []
    for part in parts:
        names = _select(backbone, part)
        if not names:
            raise RecipeError(
                f"model.freeze names {part!r}, which this model does not have",
                where="model.freeze",
                cure=f"valid: {', '.join(_valid(backbone))}, or the beginning of a parameter's name",
            )
        frozen += names
    parameters = dict(backbone.named_parameters())
    for name in frozen:
        parameters[name].requires_grad_(False)
    return sorted(set(frozen))


def _select(backbone: nn.Module, part: str) -> list[str]:
    names = [name for name, _ in backbone.named_parameters()]
    if part == "all":
        return names
    if part == "embeddings":
        return [name for name in names if is_embedding(name) and not _in_layers(backbone, name)]
    match = re.fullmatch(r"layers:(\d+)(?:-(\d+))?", part)
    if match:
        first, last = int(match[1]), int(match[2] or match[1])
        prefix, count = layers(backbone)
        if not prefix or last >= count or first > last:
            return []
        wanted = tuple(f"{prefix}.{i}." for i in range(first, last + 1))
        return [name for name in names if name.startswith(wanted)]
    stem = part.rstrip(".")
    return [name for name in names if name == stem or name.startswith(stem + ".")]


def _in_layers(backbone: nn.Module, name: str) -> bool:
    prefix, _ = layers(backbone)
    return bool(prefix) and name.startswith(prefix + ".")


def _valid(backbone: nn.Module) -> list[str]:
    _, count = layers(backbone)
    tops = dict.fromkeys(name.split(".")[0] for name, _ in backbone.named_parameters())
    return ["all", "embeddings", *([f"layers:0-{count - 1}"] if count else []), *(t for t in tops if t != "embeddings")]
