"""Ours against theirs: the statistics that entries record, the error, and how large it may be."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tests.conformance.entries import Entry, Gradient, Quantity


@dataclass(frozen=True)
class Tolerance:
    """Largest relative error for entries whose schema, name and dtype match (regular expressions)."""

    rtol: float
    reason: str
    schema: str = ".*"
    name: str = ".*"
    dtype: str = ".*"


TOLERANCES = (
    Tolerance(1e-7, "the reference adds 1e-8 to norms and weights", "objectives", "cwcl"),
    Tolerance(1e-7, "the reference loses digits in 1 - P", "sentence", "MACL.*"),
    Tolerance(1e-4, "the reference computed (partly) in single precision", dtype=".*float32.*"),
    Tolerance(1e-9, "double precision on both sides"),
)
"""The first row that matches an entry holds for it. Changing one changes what conforming means."""

FLOOR = 1e-3
"""Errors are relative to ``max(|expected|, FLOOR)``: a loss of 1e-9 is the rounding of logits of size 100."""


def tolerance(entry: Entry) -> Tolerance:
    """The row of `TOLERANCES` for an entry."""
    for row in TOLERANCES:
        fields = ((row.schema, entry.schema), (row.name, entry.name), (row.dtype, entry.dtype))
        if all(re.fullmatch(pattern, value, re.DOTALL) for pattern, value in fields):
            return row
    raise AssertionError("the last row matches everything")


def error(quantity: Quantity, ours: Any) -> float:
    """Relative error; infinite where the two cannot be compared (texts that differ, another shape, NaN)."""
    theirs = quantity.expected
    if isinstance(ours, Tensor):
        ours = ours.detach().tolist()
    if not _numeric(theirs) or _ragged(theirs):
        return 0.0 if ours == theirs else math.inf
    expected, got = np.asarray(theirs, dtype=float), np.asarray(ours, dtype=float)
    if expected.shape != got.shape:
        return math.inf
    if not expected.size:
        return 0.0
    if np.isnan(expected).any() or np.isnan(got).any():
        return 0.0 if np.array_equal(expected, got, equal_nan=True) else math.inf
    scale = max(FLOOR, quantity.scale or 0.0, float(np.abs(expected).max()))
    return float(np.abs(got - expected).max()) / scale


def _numeric(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(_numeric(v) for v in value)
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _ragged(value: Any) -> bool:
    """Whether a list holds lists of unequal lengths: places, which are right or wrong."""
    lists = [v for v in value if isinstance(v, list)] if isinstance(value, list) else []
    return len({len(v) for v in lists}) > 1


def statistic(gradient: Tensor, spec: Gradient) -> Any:
    """The recorded statistic of a gradient: elements and rows in C order."""
    flat = gradient.detach().reshape(-1)
    if spec.statistic == "norm":
        return float(flat.norm())
    if spec.statistic == "sum":
        return float(flat.sum())
    if spec.statistic == "first":
        return float(flat[0])
    if spec.statistic == "first3":
        return flat[:3].tolist()
    return gradient.detach().reshape(-1, gradient.shape[-1]).norm(dim=-1).tolist()


def summary(values: Mapping[str, Any], path: str) -> Any:
    """Our value at a path of the entry; ``output.fro`` may also be a statistic of the tensor called ``output``.

    Raises:
        KeyError: we have no such value.
    """
    if path in values:
        return values[path]
    name, _, which = path.rpartition(".")
    tensor = values[name]
    if not isinstance(tensor, Tensor):
        raise KeyError(path)
    flat = tensor.detach().reshape(-1)
    known = {
        "shape": lambda: list(tensor.shape),
        "mean": lambda: float(flat.mean()),
        "std_ddof0": lambda: float(flat.std(unbiased=False)),
        "fro": lambda: float(flat.norm()),
        "first5": lambda: flat[:5].tolist(),
    }
    return known[which]()


def gradients(of: Tensor, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """d `of` / d each input; zero where the loss does not depend on it."""
    if not of.requires_grad:
        return {name: torch.zeros_like(tensor) for name, tensor in inputs.items()}
    found = torch.autograd.grad(of, list(inputs.values()), retain_graph=True, allow_unused=True)
    return {
        name: torch.zeros_like(tensor) if gradient is None else gradient
        for (name, tensor), gradient in zip(inputs.items(), found, strict=True)
    }
