"""Two answers to one update: loss and every gradient."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

Answer = dict[str, Tensor]
"""``loss`` and the gradient of every parameter, by name."""


def assert_same(got: Mapping[str, Tensor], want: Mapping[str, Tensor], what: str, relative: float) -> None:
    """Every entry agrees to `relative` of its own largest element, or of a thousandth of the largest of all."""
    assert got.keys() == want.keys()
    scale = max(float(t.abs().max()) for n, t in want.items() if n != "loss")
    for name, value in want.items():
        size = max(float(value.abs().max()), 1e-3 * scale, 1e-12)
        worst = float((got[name] - value).abs().max()) / size
        assert worst < relative, f"{what}: {name} differs by {worst:.2e} (relative)"
