"""Finds the adapter of an entry, runs it, and judges every quantity that the entry records."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor

from embedkit.objectives import base
from embedkit.recipe.objectives.base import ObjectiveConfig
from tests.conformance import adapters, compare
from tests.conformance.entries import Entry, Gradient, Quantity
from tests.conformance.inputs import InputError, Inputs, NotImplementedYet, Options, rebuild
from tests.conformance.left_out import LEFT_OUT

Verdict = Literal["conforms", "FAILED", "not implemented yet"]


@dataclass(frozen=True)
class Case:
    """What an adapter gets: the rebuilt inputs and the hyper-parameters of one entry."""

    entry: Entry
    inputs: Inputs
    hyper: Options

    def __getitem__(self, name: str) -> Tensor:
        """The array `name` as the loss gets it."""
        return self.inputs[name]


Adapter = Callable[[Case], Mapping[str, Any]]
"""Returns our values by the path they have in the entry (``loss``, ``extra.weights``); gradients are taken here."""

_ADAPTERS: list[tuple[str, re.Pattern[str], Adapter]] = []


def adapter(schema: str, *names: str) -> Callable[[Adapter], Adapter]:
    """Decorator: this function stands for the objectives, functions or methods called `names`.

    Args:
        schema: of the golden file.
        names: regular expressions that match the whole name.
    """

    def add(function: Adapter) -> Adapter:
        _ADAPTERS.extend((schema, re.compile(name), function) for name in names)
        return function

    return add


def find(entry: Entry) -> Adapter | None:
    """The adapter of an entry, or None.

    Raises:
        LookupError: two adapters claim it.
    """
    for module in pkgutil.iter_modules(adapters.__path__):
        importlib.import_module(f"{adapters.__name__}.{module.name}")
    found = {a for schema, name, a in _ADAPTERS if schema == entry.schema and name.fullmatch(entry.name)}
    if len(found) > 1:
        names = ", ".join(sorted(a.__name__ for a in found))
        raise LookupError(f"several adapters match {entry.name!r}: {names}")
    return found.pop() if found else None


@dataclass(frozen=True)
class Comparison:
    """One quantity: the authors' value, ours, and the relative error."""

    path: str
    expected: Any
    ours: Any
    error: float


@dataclass(frozen=True)
class Outcome:
    """The verdict on one entry.

    Attributes:
        comparisons: every quantity that was compared.
        missing: paths of the quantities that embedkit does not produce.
        reason: why it failed without a comparison, or what is not implemented.
        objectives: names of the objectives that were built for it.
    """

    entry: Entry
    verdict: Verdict
    rtol: float
    comparisons: list[Comparison] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    reason: str = ""
    objectives: frozenset[str] = frozenset()

    @property
    def worst(self) -> Comparison | None:
        return max(self.comparisons, key=lambda c: c.error, default=None)

    @property
    def main(self) -> Comparison | None:
        """The quantity that stands for the entry in a table: the worst if it failed, else its (first) loss."""
        if self.verdict == "FAILED":
            return self.worst
        losses = [c for c in self.comparisons if c.path.rpartition(".")[2] == "loss"]
        return next(iter(losses or self.comparisons), None)


@contextmanager
def built() -> Iterator[set[str]]:
    """The names of the objectives that are built within it."""
    names, build = set[str](), base._build

    def recording(config: ObjectiveConfig, weighting: Any) -> base.Objective:
        names.add(config.name)
        return build(config, weighting)

    base._build = recording
    try:
        yield names
    finally:
        base._build = build


def judge(entry: Entry) -> Outcome:
    """Run one entry. Nothing that goes wrong in it stops the others."""
    with built() as names:
        outcome = _judge(entry)
    return replace(outcome, objectives=frozenset(names))


def _judge(entry: Entry) -> Outcome:
    rtol = compare.tolerance(entry).rtol
    function = find(entry)
    if function is None:
        reason = LEFT_OUT.get(entry.name, f"no adapter for {entry.name!r}")
        return Outcome(entry, "not implemented yet", rtol, reason=reason)
    try:
        case = Case(entry, rebuild(entry), Options(entry.hyper, "hyper-parameter"))
        values = function(case)
        left = [*case.hyper.unused(), *(f"input {name}" for name in case.inputs.fields.unused())]
        if left:
            raise NotImplementedYet(f"the adapter does not use {', '.join(left)}")
        return _compared(case, values, rtol)
    except NotImplementedYet as missing:
        return Outcome(entry, "not implemented yet", rtol, reason=str(missing))
    except InputError as wrong:
        return Outcome(entry, "FAILED", rtol, reason=str(wrong))
    except Exception as broken:  # reported as a failure of this entry; the others are still worth running
        return Outcome(entry, "FAILED", rtol, reason=f"{type(broken).__name__}: {broken}")


def _compared(case: Case, values: Mapping[str, Any], rtol: float) -> Outcome:
    comparisons, missing, needed = [], [], []
    cache: dict[tuple[str, str], dict[str, Tensor]] = {}
    for quantity in case.entry.quantities:
        try:
            ours = _ours(quantity, case, values, cache)
        except KeyError:
            missing.append(quantity.path)
            needed += [quantity.path] if quantity.required else []
            continue
        comparisons.append(Comparison(quantity.path, quantity.expected, ours, compare.error(quantity, ours)))
    verdict: Verdict
    bad = [c for c in comparisons if not c.error <= rtol]
    if bad:
        verdict, reason = "FAILED", f"{len(bad)} of {len(comparisons)} quantities: {', '.join(c.path for c in bad)}"
    elif needed or not comparisons:
        verdict, reason = "not implemented yet", f"no value for {', '.join(needed) or 'anything'}"
    else:
        verdict, reason = "conforms", ""
    return Outcome(case.entry, verdict, rtol, comparisons, missing, reason)


def _ours(quantity: Quantity, case: Case, values: Mapping[str, Any], cache: dict[Any, Any]) -> Any:
    if quantity.gradient is None:
        ours = compare.summary(values, quantity.path)
        return ours.detach().tolist() if isinstance(ours, Tensor) else ours
    gradient = _gradient(quantity.gradient, case, values[quantity.gradient.of], cache)
    return compare.statistic(gradient, quantity.gradient)


def _gradient(spec: Gradient, case: Case, of: Tensor, cache: dict[Any, Any]) -> Tensor:
    key = (spec.of, spec.at)
    if key not in cache:
        tensors = case.inputs.raw if spec.at == "raw" else case.inputs.fed
        cache[key] = compare.gradients(of, {n: t for n, t in tensors.items() if t.requires_grad})
    return cache[key][spec.array]


def run(entries: list[Entry]) -> list[Outcome]:
    """The verdict on every entry, in order, on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return [judge(entry) for entry in entries]
    finally:
        torch.set_num_threads(threads)
