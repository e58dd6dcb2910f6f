"""Rebuilds the arrays of an entry from the entry alone: seeds, draws, compositions, recipes."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tests.conformance.entries import Entry
from tests.conformance.expressions import Calculator, ExpressionError, draws, run, targets, unit, without_remarks


class InputError(ValueError):
    """The rebuilt inputs of an entry differ from what the entry says of them."""


class NotImplementedYet(Exception):
    """embedkit has nothing (yet) that this entry could be compared with; the message says what is missing."""


_MISSING = object()


class Options(Mapping[str, Any]):
    """A mapping that knows which of its keys were used: an option that nobody read would be ignored silently."""

    def __init__(self, values: Mapping[str, Any], what: str) -> None:
        self._values, self._what, self._used = dict(values), what, set[str]()

    def __getitem__(self, key: str) -> Any:
        if key not in self._values:
            raise NotImplementedYet(f"{self._what} {key!r} is not in the entry")
        self._used.add(key)
        return self._values[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def only(self, key: str, *allowed: Any, default: Any = _MISSING) -> Any:
        """The value of `key`, which must be one of `allowed`, because nothing else is implemented."""
        value = self._values.get(key, default) if default is not _MISSING else self[key]
        self._used.add(key)
        if value not in allowed:
            raise NotImplementedYet(f"{self._what} {key} = {value!r}")
        return value

    def remark(self, *keys: str) -> None:
        """Mark keys as read that say nothing to a program (or what the arrays already hold)."""
        self._used.update(keys)

    def unused(self) -> list[str]:
        """Keys that nobody has read."""
        return sorted(set(self._values) - self._used)


class Inputs:
    """The arrays of one entry as tensors, and its other input fields.

    ``inputs["A"]`` is the array as a loss gets it; `raw` holds the leaves as drawn. Both are the same tensor
    unless the entry says that the input is normalised. Reading an array marks the input field that it came from.
    """

    def __init__(
        self,
        arrays: Mapping[str, np.ndarray],
        fields: Mapping[str, Any],
        entry: Entry,
        *,
        leaves: Collection[str] | None = None,
        origin: Mapping[str, str] | None = None,
    ) -> None:
        """Make tensors.

        Args:
            arrays: by name.
            fields: input fields that an adapter must read.
            entry: the entry.
            leaves: arrays that gradients are taken of; those that the entry gives a gradient for when None.
            origin: the field that an array came from, where it is not called like the array.
        """
        single = entry.dtype == "float32"
        leaves = entry.gradients() if leaves is None else leaves
        self._origin = dict(origin or {})
        self.raw: dict[str, Tensor] = {}
        for name, array in arrays.items():
            tensor = torch.from_numpy(np.array(array))
            if tensor.is_floating_point():
                tensor = tensor.to(torch.float32 if single else torch.float64)
                tensor.requires_grad_(name in leaves)
            self.raw[name] = tensor
        self.fed = dict(self.raw)
        self.fields = Options(fields, "input")

    def normalize(self, name: str) -> None:
        """Hand `name` to the loss divided by its row norms; gradients are known before and after that."""
        raw = self.raw[name]
        self.fed[name] = raw / raw.norm(dim=-1, keepdim=True)

    def __getitem__(self, name: str) -> Tensor:
        if name not in self.fed:
            raise NotImplementedYet(f"input array {name!r} is not in the entry")
        self.fields.remark(name, self._origin.get(name, name))
        return self.fed[name]

    def __contains__(self, name: str) -> bool:
        return name in self.fed


def rebuild(entry: Entry) -> Inputs:
    """The inputs of an entry.

    Raises:
        NotImplementedYet: the entry describes them in a way that is not understood.
        InputError: what was drawn disagrees with what the entry says of it (`input_fro`, lists of values).
    """
    builders = {"objectives": _objectives, "retrieval": _retrieval, "sentence": _sentence}
    try:
        return builders[entry.schema](entry)
    except ExpressionError as error:
        raise NotImplementedYet(f"inputs are not understood: {error}") from error


def _seeded(spec: Mapping[str, Any]) -> np.ndarray:
    return np.random.default_rng(spec["seed"]).standard_normal(spec["shape"])


# --- schema "objectives": literal draws from one generator, then expressions over them -----------------------------

_SIZES = ("N", "K", "C", "d", "Kq", "r")
_ALIASES = {"n_hard": "nh", "s": "s1", "s_prime": "s2"}
_STRUCTURE = {"seed", "draws", "generator_order"}
_DERIVED = ("B", "q", "k", "X", "y2")
_MULTIVIEW = re.compile(r"V\[k\]=(.+)")


def _objectives(entry: Entry) -> Inputs:
    given = dict(entry.inputs)
    names = _drawn(entry)
    calculator = Calculator(dict(names))
    if "views" in given:
        _views(given, calculator, entry)
    for key in _DERIVED:
        if isinstance(given.get(key), str):
            calculator.names.setdefault("K", _ratio(names))
            calculator.names[key] = calculator.value(_expression(given.pop(key)))
    for key in ("queue", "teacher", "prior", "p0", "grads"):
        if isinstance(given.get(key), dict):
            array = _seeded(given[key])
            calculator.names[key] = unit(array) if given[key].get("normalised") else array
        elif isinstance(given.get(key), str):
            calculator.names[key] = calculator.value(_expression(given[key]))
    arrays = {k: np.asarray(v) for k, v in calculator.names.items() if isinstance(v, (np.ndarray, float))}
    arrays = {k: v for k, v in arrays.items() if not isinstance(given.get(k), list)}
    fields = {k: v for k, v in given.items() if k not in _STRUCTURE | {"views", *_SIZES}}
    return Inputs(arrays, fields, entry)


def _expression(text: str) -> str:
    """``unit(A+0.5*E), no grad`` without its remark."""
    return re.sub(r", no grad$", "", without_remarks(text).strip())


def _ratio(names: Mapping[str, Any]) -> int:
    """K of ``repeat(A,K,axis=0)``: how many rows of E belong to one of A."""
    return len(names["E"]) // len(names["A"]) if {"A", "E"} <= names.keys() else 1


def _drawn(entry: Entry) -> dict[str, Any]:
    """What the entry draws, in its order, from one generator."""
    inputs = entry.inputs
    rng = np.random.default_rng(inputs.get("seed"))
    if "generator_order" not in inputs:
        return {name: rng.standard_normal(shape) for name, shape in inputs.get("draws", [])}
    sizes = _sizes(entry)
    calculator = Calculator(dict(sizes), functions=draws(rng))
    for statement in inputs["generator_order"]:
        for part in statement.split(";"):
            target, equals, expression = part.strip().partition("=")
            if not equals:
                continue
            if "[" in target:
                whole = target.partition("[")[0]
                calculator.names[f"{whole}_before_override"] = calculator.names[whole].copy()
            calculator.assign(target, calculator.value(without_remarks(expression.removesuffix(" afterwards"))))
    names = {k: v for k, v in calculator.names.items() if k not in sizes or isinstance(v, np.ndarray)}
    for name in names.keys() & inputs.keys():
        if isinstance(inputs[name], list) and not np.allclose(np.ravel(names[name]), inputs[name], rtol=1e-12):
            raise InputError(f"{name} differs from the values in the entry")
    return names


def _sizes(entry: Entry) -> dict[str, Any]:
    """Sizes named by `generator_order`: input fields, hyper-parameters, and ``N=4`` of the setting."""
    setting = {name: int(value) for name, value in re.findall(r"(?:^|,)(\w+)=(\d+)(?=,|$)", entry.setting)}
    if "rank" in setting:
        setting["r"] = setting["rank"]
    hyper = {short: entry.hyper[long] for long, short in _ALIASES.items() if long in entry.hyper}
    given = {name: entry.inputs[name] for name in _SIZES if isinstance(entry.inputs.get(name), int)}
    return setting | hyper | given


def _views(given: dict[str, Any], calculator: Calculator, entry: Entry) -> None:
    """``V[k]=A+0.5*E[k]`` stacks one array; ``A_s and A_s+0.5*E_s`` and ``c1=C,c2=C+0.5CE`` name several."""
    text, names = given["views"], calculator.names
    stacked = _MULTIVIEW.fullmatch(text)
    if stacked:
        count = len(names["E"])
        names["V"] = np.stack([Calculator({**names, "k": k}).value(_expression(stacked[1])) for k in range(count)])
        return
    if re.match(r"\w+=\w+,", text) and "_s" not in text:
        names.update(run(text.replace(",", ";"), None, names).names)
        return
    step = re.search(r"step=(\d+)", entry.setting)
    first, second = re.split(r",\s*| and ", re.sub(r"\b\w=", "", text))
    if step:
        first, second = (t.replace("_s", step[1]) for t in (first, second))
    names["A"], names["B"] = calculator.value(first), calculator.value(second)


# --- schema "retrieval": one fresh generator per array --------------------------------------------------------------

_COMPOSE = re.compile(r"(.+?)standard_normal\(seed\)(?:, before normalisation)?")


def _retrieval(entry: Entry) -> Inputs:
    specs = {k: v for k, v in entry.inputs.items() if isinstance(v, dict) and {"seed", "shape"} <= v.keys()}
    arrays: dict[str, np.ndarray] = {}
    for name, spec in specs.items():
        arrays[name] = _seeded(spec)
        if spec.get("compose"):
            composed = _COMPOSE.fullmatch(spec["compose"])
            if composed is None:
                raise ExpressionError(f"compose of {name} is not understood: {spec['compose']!r}")
            arrays[name] = Calculator({**arrays, "noise_": arrays[name]}).value(f"{composed[1]}noise_")
        unknown = spec.keys() - {"seed", "shape", "normalize", "grad", "compose"}
        if unknown:
            raise ExpressionError(f"input {name} has fields that are not understood: {sorted(unknown)}")
    inputs = Inputs(arrays, entry.inputs, entry, leaves={k for k, v in specs.items() if v.get("grad")})
    for name, spec in specs.items():
        if spec.get("normalize"):
            inputs.normalize(name)
    return inputs


# --- schema "sentence": recipes -----------------------------------------------------------------------------------

_RECIPE = {"seed", "recipe", "input_fro", "perm_first5", "normalised", "noise"}


def _sentence(entry: Entry) -> Inputs:
    given = entry.inputs
    if given.get("normalised"):
        raise ExpressionError("normalised inputs are not described by this schema")
    sizes = {k: v for k, v in {**entry.hyper, **given}.items() if isinstance(v, (int, float))}
    if isinstance(given.get("views"), int):
        sizes["V"] = given["views"]
    text = "; ".join(given[k] for k in ("recipe", "extra") if k in given)
    script = run(text, given.get("seed"), sizes)
    arrays = {k: v for k, v in script.names.items() if isinstance(v, np.ndarray)}
    _check_norms(given.get("input_fro"), arrays)
    _check_lists(given, script.names)
    fields = {k: v for k, v in given.items() if k not in _RECIPE and k not in sizes}
    fields |= {k: v for k, v in script.names.items() if isinstance(v, list)}
    origin = dict.fromkeys(targets(given.get("extra", "")), "extra")
    return Inputs(arrays, fields, entry, origin=origin)


def _check_norms(expected: Any, arrays: Mapping[str, np.ndarray]) -> None:
    """Every Frobenius norm that the entry gives must be that of an array, in the order of the recipe."""
    found = iter([(name, float(np.linalg.norm(array))) for name, array in arrays.items()])
    for norm in expected if isinstance(expected, list) else [] if expected is None else [expected]:
        if not any(abs(ours - norm) <= 1e-12 * abs(norm) for _, ours in found):
            norms = {name: float(np.linalg.norm(a)) for name, a in arrays.items()}
            raise InputError(f"input_fro {norm!r} is not the norm of any array in its place: {norms}")


def _check_lists(given: Mapping[str, Any], names: Mapping[str, Any]) -> None:
    """Where the entry also gives drawn values, they must be what was drawn."""
    for name, first in (("labels", given.get("labels")), ("perms", given.get("perm_first5"))):
        if first is None or name not in names:
            continue
        drawn = np.array(names[name])
        if drawn[..., : np.shape(first)[-1]].tolist() != first:
            raise InputError(f"{name} differ from those of the entry")
