"""Whether the weights that were read are those of the model that was built: nothing may be left to chance.

transformers gives parameters that a checkpoint lacks new random values and goes on. Legitimate gaps are parts that take
no share in the embedding (a pooler that nobody reads); everything else is refused.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from embedkit.disk.model_files import BASE, NOT_OF_ONE
from embedkit.errors import RecipeError
from embedkit.foreign.quoting import listed
from embedkit.model.reading.structure import layers

SHOWN = 3
_PATCHING = threading.RLock()


@dataclass
class Report:
    """What transformers said about one call of `from_pretrained`.

    Attributes:
        model: the model that it gave.
        source: where the weights came from.
        missing: parameters and buffers of the model that the weights lack.
        unexpected: names in the weights that the model lacks.
        mismatched: name, shape in the weights, shape in the model.
        adapters: whether this is about peft adapters alone.
    """

    model: Any
    source: str
    missing: set[str] = field(default_factory=set)
    unexpected: set[str] = field(default_factory=set)
    mismatched: list[tuple[str, tuple[int, ...], tuple[int, ...]]] = field(default_factory=list)
    adapters: bool = False

    @classmethod
    def of(cls, model: Any, source: str, info: dict[str, Any], *, adapters: bool = False) -> Report:
        mismatched = sorted((str(n), tuple(a), tuple(b)) for n, a, b in info["mismatched_keys"])
        return cls(model, source, set(info["missing_keys"]), set(info["unexpected_keys"]), mismatched, adapters)


@contextmanager
def watching() -> Iterator[list[Report]]:
    """Collect what transformers says about weights while others call it.

    `from_pretrained` tells it to callers that ask (``output_loading_info=True``); sentence-transformers does not.
    """
    from transformers import PreTrainedModel

    found: list[Report] = []
    original = PreTrainedModel.__dict__["from_pretrained"]

    def from_pretrained(cls: Any, source: Any, *args: Any, **kwargs: Any) -> Any:
        asked = kwargs.pop("output_loading_info", False)
        kwargs["ignore_mismatched_sizes"] = True  # they are refused here, by name
        beside = dict(kwargs.get("adapter_kwargs") or {})
        adapters = beside.pop("_adapter_model_path", None)
        if adapters is not None:  # else only the adapters would be reported
            kwargs["adapter_kwargs"] = beside
        model, info = original.__func__(cls, source, *args, output_loading_info=True, **kwargs)
        found.append(Report.of(model, str(source), info))
        if adapters is not None:
            of_adapters = model.load_adapter(adapters, adapter_kwargs=beside)
            found.append(Report.of(model, str(adapters), of_adapters.to_dict(), adapters=True))
        return (model, info) if asked else model

    with _PATCHING:
        PreTrainedModel.from_pretrained = classmethod(from_pretrained)
        try:
            yield found
        finally:
            PreTrainedModel.from_pretrained = original


def refuse_misfits(reports: Iterable[Report]) -> None:
    """Refuse weights of other shapes, layers beyond those of the model, and adapters that do not fit.

    Raises:
        RecipeError: with the names.
    """
    for report in reports:
        if report.mismatched:
            name, stored, wanted = report.mismatched[0]
            more = f", and {len(report.mismatched) - 1} tensors more" if len(report.mismatched) > 1 else ""
            what = f"{name} is {list(stored)} in the weights of {report.source} and {list(wanted)} by its config.json"
            raise RecipeError(what + more, BASE, NOT_OF_ONE)
        prefix, count = layers(report.model)
        numbers = {name: _layer(name, prefix, report.model.base_model_prefix) for name in report.unexpected}
        beyond = [name for name, number in numbers.items() if number is not None and number >= count]
        if beyond:
            raise RecipeError(
                f"the weights of {report.source} hold {len(beyond)} tensors of layers beyond the {count} that its "
                f"config.json names: {listed(sorted(beyond), SHOWN)}",
                BASE,
                "correct the number of layers in config.json; a model with fewer layers is saved with save_pretrained",
            )
        if report.adapters and (report.missing or report.unexpected):
            raise _missing(report, report.missing, "the adapters belong to another base")


def refuse_gaps(report: Report, used: Iterable[str]) -> None:
    """Refuse weights that lack parameters which take part in the embedding.

    Args:
        report: about the model.
        used: those of ``report.missing`` that take part.

    Raises:
        RecipeError: with count and first names, and what the weights hold instead.
    """
    lacking = set(used)
    if lacking:
        raise _missing(report, lacking, "the checkpoint is of another architecture, or was saved under a prefix")


def new_head(report: Report) -> bool:
    """Whether the weights lack the head of a reranker, which is then new; a pooler belongs to it.

    Raises:
        RecipeError: they lack more.
    """
    if type(report.model).__name__.endswith("ForCausalLM"):  # its head is that of the language
        refuse_gaps(report, report.missing)
        return False
    inner = f"{report.model.base_model_prefix}."
    head = {n for n in report.missing if not n.startswith(inner) or n.removeprefix(inner).startswith("pooler.")}
    refuse_gaps(report, report.missing - head)
    return bool(head)


def in_layers(model: nn.Module, names: Iterable[str]) -> set[str]:
    """The names that belong to the transformer layers of a model."""
    prefix, count = layers(model)
    return {name for name in names if count and name.startswith(prefix + ".")}


def taking_part(model: nn.Module, names: Iterable[str], output: torch.Tensor) -> set[str]:
    """Those of the parameters `names` that `output`, with its graph, was computed from; buffers are constants."""
    wanted, used = set(names), _leaves(output)
    return {name for name, parameter in model.named_parameters() if name in wanted and id(parameter) in used}


def _leaves(output: torch.Tensor) -> set[int]:
    """Ids of the parameters at the ends of a graph; walks it, and computes no gradient."""
    seen: set[Any] = set()
    found: set[int] = set()
    pending = [output.grad_fn]
    while pending:
        node = pending.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        variable = getattr(node, "variable", None)
        if variable is not None:
            found.add(id(variable))
        pending += [following for following, _ in node.next_functions]
    return found


def _missing(report: Report, lacking: set[str], guess: str) -> RecipeError:
    whole = len(report.model.state_dict())
    what = f"{len(lacking):,} of {whole:,} tensors of {type(report.model).__name__} are not in the weights of "
    what += f"{report.source}: {listed(sorted(lacking), SHOWN)}" if lacking else report.source
    if report.unexpected:
        others = listed(sorted(report.unexpected), SHOWN)
        what += f"; they hold {len(report.unexpected):,} that the model does not have: {others}"
    cure = f"{guess}: load it with the code that wrote it and save it again with save_pretrained"
    return RecipeError(what, BASE, cure)


def _layer(name: str, prefix: str, outer: str) -> int | None:
    """The number of the transformer layer that a tensor belongs to, the names of heads' checkpoints included."""
    match = re.match(rf"(?:{re.escape(outer)}\.)?{re.escape(prefix)}\.(\d+)\.", name) if prefix else None
    return int(match[1]) if match else None
