"""Dropout that a CPU can afford.

Torch's own draws one number per element on a CPU: about a tenth of a training step of a small encoder. Here four
elements share the 64 bits of one draw, which is three times as fast. The probability is rounded to a multiple of
1/65536 and the scale is that of the rounded probability, so the expectation is exact. Masks come from torch's global
generator, hence seeds, resuming and the replay of masks work as with torch's own.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

_LEVELS = 1 << 16


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, p: float) -> Tensor:
        factor = draw_factor(x, p)
        ctx.save_for_backward(factor)
        return x * factor

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (factor,) = ctx.saved_tensors
        return gradients[0] * factor, None


def draw_factor(like: Tensor, p: float) -> Tensor:
    """What dropout multiplies by: 0 with probability `p`, else 1 / (1 - p); shape and type of `like`, on the CPU."""
    cut = round(p * _LEVELS)
    words = torch.empty((like.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    uniform = words.view(torch.int16)[: like.numel()].view(like.shape)
    factor = torch.empty(like.shape, dtype=like.dtype)
    torch.ge(uniform, cut - _LEVELS // 2, out=factor)  # 0 or 1, written as floats at once
    return factor.mul_(_LEVELS / (_LEVELS - cut))


def dropout(x: Tensor, p: float) -> Tensor:
    """Zero each element with probability `p`, scale the others by 1 / (1 - p).

    Args:
        x: any shape; on other devices than the CPU torch's own dropout is used.
        p: rounded to a multiple of 1/65536 on the CPU.
    """
    cut = round(p * _LEVELS)
    if x.device.type != "cpu" or cut == _LEVELS:
        return nn.functional.dropout(x, p)
    return _Dropout.apply(x, p) if cut else x


class CPUDropout(nn.Dropout):
    """`nn.Dropout` with the mask drawn as above; it has no parameters, so a saved model does not know of it."""

    def forward(self, input: Tensor) -> Tensor:
        return dropout(input, self.p) if self.training else input


def use_cpu_dropout(module: nn.Module) -> None:
    """Exchange every plain `nn.Dropout` inside `module`."""
    for name, child in module.named_children():
        if type(child) is nn.Dropout:
            setattr(module, name, CPUDropout(child.p).train(child.training))
        else:
            use_cpu_dropout(child)
