"""Matrix products of linear layers on a CPU, by the faster of the two libraries that torch has for them.

Torch multiplies float32 with MKL where it is built with it. MKL keeps its best code for Intel's processors: on an AMD
EPYC 9004 oneDNN, which torch has too and uses for other types, is faster for products with weights
(`docs/engine.md` has the figures). Which one is taken depends on the processor alone, so that a run repeats bit for
bit.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

_Layout = tuple[Tensor, Tensor | None, Sequence[Tensor]]
_layouts: ContextVar[dict[tuple[int, ...], _Layout] | None] = ContextVar("layouts", default=None)
"""By the identity of some weights: the weights joined and laid out, their biases joined, and the weights themselves,
which must live as long as their identity stands here."""


@contextmanager
def fixed_weights() -> Iterator[None]:
    """Within, no weight changes: each is joined and laid out as its product likes it best once, not for every product.

    It pays from the second product of a weight on, and holds a copy of the weights meanwhile.
    """
    token = _layouts.set({})
    try:
        yield
    finally:
        _layouts.reset(token)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x W^T + b for x [t, k], weight [n, k], bias [n] or None."""
    return joint_linear(x, [weight], [] if bias is None else [bias])


def joint_linear(x: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor]) -> Tensor:
    """Several linear layers of the same x [t, k] in one product; their outputs side by side, [t, sum of n].

    All of them have a bias, or none has.
    """
    known, key = _layouts.get(), tuple(id(w) for w in weights)
    if known is not None and key in known:
        weight, bias, _ = known[key]
    else:
        weight, bias = join(weights), join(biases) if biases else None
        if known is not None:
            if _by_onednn(x):
                weight = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), len(x))
            known[key] = weight, bias, weights
    if _by_onednn(x):
        return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return F.linear(x, weight, bias)


def join(parts: Sequence[Tensor]) -> Tensor:
    """One below the other; a single one as it is."""
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))


def input_gradient(gradient: Tensor, weight: Tensor) -> Tensor:
    """g W, the gradient of x in x W^T, for g [t, n]."""
    if _by_onednn(gradient):
        return torch.ops.mkldnn._linear_pointwise(gradient, weight.t(), None, "none", [], "")
    return gradient @ weight


def weight_gradient(gradient: Tensor, x: Tensor) -> Tensor:
    """g^T x, the gradient of W in x W^T; by torch's own product, which is as fast here."""
    return gradient.t() @ x


def _by_onednn(x: Tensor) -> bool:
    return x.dtype == torch.float32 and x.device.type == "cpu" and onednn_is_faster()


@cache
def onednn_is_faster() -> bool:
    """Whether torch would take MKL, on a processor of AMD's with AVX-512, and has oneDNN's linear layer as well."""
    if not (torch.backends.mkl.is_available() and torch.backends.mkldnn.is_available()):
        return False
    if not all(hasattr(torch.ops.mkldnn, name) for name in ("_linear_pointwise", "_reorder_linear_weight")):
        return False
    found = _processor()
    return "AuthenticAMD" in found and "avx512f" in found


def _processor() -> str:
    """What the system says of the processor."""
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")[:4096]
    except OSError:
        return platform.processor()
