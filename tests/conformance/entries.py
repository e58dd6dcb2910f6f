"""One form for the entries of all golden files: inputs, hyper-parameters and a flat list of expected quantities."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Statistic = Literal["norm", "sum", "first", "first3", "row_norms"]


class GoldenError(Exception):
    """A golden file that cannot be read: what, where, and what would be expected."""


@dataclass(frozen=True)
class Gradient:
    """A statistic of d `of` / d `array`.

    `at` is ``raw`` for the array as drawn, ``fed`` for the array as the loss gets it (after a normalisation that
    belongs to the input).
    """

    of: str
    array: str
    statistic: Statistic
    at: Literal["raw", "fed"] = "raw"


@dataclass(frozen=True)
class Quantity:
    """One expected number, list or text of an entry.

    Attributes:
        path: where it stands in the entry, e.g. ``grad_norm.A``.
        expected: the authors' value.
        gradient: set where it is a statistic of a gradient.
        scale: magnitude that the error is measured against, where the value itself may be small by
            cancellation (an element or a sum of a gradient: its norm). None: the value's own magnitude.
        required: whether an entry conforms only if this quantity was compared.
    """

    path: str
    expected: Any
    gradient: Gradient | None = None
    scale: float | None = None
    required: bool = True


@dataclass(frozen=True)
class Entry:
    """One entry. `name` is the objective, function or method: with `schema` it chooses the adapter."""

    schema: str
    file: str
    id: str
    name: str
    inputs: Mapping[str, Any]
    hyper: Mapping[str, Any]
    quantities: tuple[Quantity, ...]
    dtype: str = "float64"
    setting: str = ""
    notes: str = ""
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def gradients(self) -> set[str]:
        """Names of the arrays that a gradient is expected for."""
        return {q.gradient.array for q in self.quantities if q.gradient is not None}


def _scale(values: Mapping[str, Any], name: str) -> float | None:
    norm = values.get(name)
    return abs(norm) if isinstance(norm, (int, float)) else None


def _values(prefix: str, value: Any, *, required: bool) -> Iterator[Quantity]:
    """Leaves of a nested result; a list of numbers is one leaf.

    ``ddp_...`` is what the reference's data-parallel training makes of a gradient: a fact about its trainer.
    """
    if isinstance(value, dict):
        for key, inner in value.items():
            path, part = f"{prefix}.{key}" if prefix else key, required and not key.startswith("ddp_")
            yield from _values(path, inner, required=part)
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for k, inner in enumerate(value):
            yield from _values(f"{prefix}.{k}", inner, required=required)
    else:
        yield Quantity(prefix, value, required=required)


def _read_objectives(raw: Mapping[str, Any]) -> dict[str, Any]:
    quantities = [] if raw["loss"] is None else [Quantity("loss", raw["loss"])]
    statistics: dict[str, Statistic] = {"grad_norm": "norm", "grad_first": "first", "grad_sum": "sum"}
    for key, statistic in statistics.items():
        for array, expected in raw.get(key, {}).items():
            scale = _scale(raw.get("grad_norm", {}), array)
            quantities.append(Quantity(f"{key}.{array}", expected, Gradient("loss", array, statistic), scale))
    extra = raw.get("extra") or {}
    if "exact" in extra and not math.isclose(extra["exact"], raw["loss"], rel_tol=1e-12):
        # The entry records an error of the reference together with the right value: only that one counts.
        quantities = [Quantity("extra.exact", extra["exact"])]
    else:
        quantities += _values("extra", extra, required=raw["loss"] is None)
    return {
        "name": raw["objective"],
        "hyper": raw["hyper"],
        "setting": raw.get("setting", ""),
        "quantities": tuple(quantities),
    }


def _read_retrieval(raw: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(raw["result"])
    quantities: list[Quantity] = []
    fields: dict[str, tuple[Statistic, Literal["raw", "fed"]]] = {
        "grad_norm_fed": ("norm", "fed"),
        "grad_row_norms_fed": ("row_norms", "fed"),
        "grad_norm_raw": ("norm", "raw"),
    }
    for key, (statistic, at) in fields.items():
        for array, expected in result.pop(key, {}).items():
            gradient = Gradient("loss", array, statistic, at)
            quantities.append(Quantity(f"{key}.{array}", expected, gradient))
    extra = result.pop("extra", {})
    quantities = [*_values("", result, required=True), *quantities]
    quantities += _values("extra", extra, required=False)
    return {
        "name": raw["function"],
        "hyper": raw["hyperparameters"],
        "dtype": raw.get("dtype", "float64"),
        "notes": raw.get("notes", ""),
        "quantities": tuple(quantities),
    }


def _read_sentence(raw: Mapping[str, Any]) -> dict[str, Any]:
    quantities: list[Quantity] = []
    for key, value in raw["outputs"].items():
        if key == "grad" or key.startswith("grad_"):
            quantities += _sentence_gradients(key, value)
        elif isinstance(value, dict) and isinstance(value.get("grad"), dict):
            # a variant: its own values, and the gradient of its own loss or probe
            rest = {k: v for k, v in value.items() if k != "grad"}
            quantities += _values(key, rest, required=True)
            of = f"{key}.{'probe' if 'probe' in rest else 'loss'}"
            quantities += _sentence_gradients(f"{key}.grad", value["grad"], of)
        else:
            quantities += _values(key, value, required=True)
    return {
        "name": raw["method"],
        "hyper": raw["hyper"],
        "dtype": raw.get("dtype", "float64"),
        "notes": raw.get("notes", ""),
        "quantities": tuple(quantities),
    }


def _sentence_gradients(key: str, arrays: Mapping[str, Any], of: str | None = None) -> Iterator[Quantity]:
    """``grad`` is of `loss`, ``grad_total`` of `total`, ``grad_of_mean`` of `loss_mean`; or of what `of` says."""
    if of is None:
        of = key.removeprefix("grad").removeprefix("_") or "loss"
        if of.startswith("of_"):
            of = f"loss_{of.removeprefix('of_')}"
    for array, fields in arrays.items():
        for statistic in fields:
            gradient = Gradient(of, array, statistic)
            scale = _scale(fields, "norm")
            yield Quantity(f"{key}.{array}.{statistic}", fields[statistic], gradient, scale)


@dataclass(frozen=True)
class Schema:
    """A kind of golden file: the keys that every entry of it has, and how to read one."""

    name: str
    keys: frozenset[str]
    read: Callable[[Mapping[str, Any]], dict[str, Any]]


SCHEMAS = (
    Schema("objectives", frozenset({"objective", "inputs", "hyper", "loss"}), _read_objectives),
    Schema("retrieval", frozenset({"function", "inputs", "hyperparameters", "result"}), _read_retrieval),
    Schema("sentence", frozenset({"method", "inputs", "hyper", "outputs"}), _read_sentence),
)


def detect(document: Any, where: str) -> Schema:
    """The schema of a file: the one whose keys every entry has.

    Raises:
        GoldenError: no schema fits; the message says what each one would need.
    """
    entries = document.get("entries") if isinstance(document, dict) else None
    if not isinstance(entries, list) or not entries or not all(isinstance(e, dict) for e in entries):
        raise GoldenError(f"{where}: unknown schema: expected an object with a list of entries under 'entries'")
    for schema in SCHEMAS:
        if all(schema.keys <= entry.keys() for entry in entries):
            return schema
    known = "; ".join(f"{s.name} needs {', '.join(sorted(s.keys))}" for s in SCHEMAS)
    first = ", ".join(sorted(entries[0]))
    raise GoldenError(f"{where}: unknown schema: the first entry has {first}; known: {known}")


_REFERENCE = re.compile(r"(\w+) = (\w+) of (\w+)")


def _with_reference(raw: Mapping[str, Any], by_id: Mapping[Any, Mapping[str, Any]]) -> Mapping[str, Any]:
    """An entry whose recipe says ``NAME = OUTPUT of ID`` gets that output and the sizes of that entry as inputs."""
    said = _REFERENCE.fullmatch(str(raw["inputs"].get("recipe", "")))
    other = by_id.get(said[3]) if said else None
    if said is None or other is None or said[2] not in other["outputs"]:
        return raw
    sizes = {k: v for k, v in other["inputs"].items() if isinstance(v, int) and k != "seed"}
    return {**raw, "inputs": {**sizes, **raw["inputs"], said[1]: other["outputs"][said[2]]}}


def read_file(path: Path) -> list[Entry]:
    """Every entry of one golden file.

    Raises:
        GoldenError: not JSON, an unknown schema, or an entry without an id.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise GoldenError(f"{path}: cannot be read as JSON: {error}") from error
    schema = detect(document, str(path))
    by_id = {raw.get("id"): raw for raw in document["entries"]}
    entries = []
    for k, raw in enumerate(document["entries"]):
        try:
            raw = _with_reference(raw, by_id)
            fields = schema.read(raw)
            entries.append(Entry(schema.name, path.name, str(raw["id"]), inputs=raw["inputs"], raw=raw, **fields))
        except (KeyError, TypeError, AttributeError) as error:
            raise GoldenError(f"{path}: entry {k} does not follow schema {schema.name}: {error!r}") from error
    return entries


def read_folder(folder: Path) -> list[Entry]:
    """Every entry of every ``*.json`` in a folder, files in the order of their names.

    Raises:
        GoldenError: no such folder, no file in it, or a file that cannot be read.
    """
    if not folder.is_dir():
        raise GoldenError(f"{folder}: no such folder of golden files (argument or EMBEDKIT_GOLDEN)")
    files = sorted(folder.glob("*.json"))
    if not files:
        raise GoldenError(f"{folder}: no *.json in it")
    return [entry for path in files for entry in read_file(path)]
