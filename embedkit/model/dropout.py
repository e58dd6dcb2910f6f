"""Dropout that a CPU can afford.

On a CPU, torch draws one random number per element on one thread: about a tenth of a training step of a small
encoder. Four elements can share the 64 bits of one draw. The probability is rounded to 1/65536 and the scale is
that of the rounded probability, so the expectation is exact. Masks come from torch's global generator, hence
seeds, resuming and the replay of masks work as with torch's own.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

_LEVELS = 1 << 16


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, p: float) -> Tensor:
        cut = round(p * _LEVELS)
        ctx.scale = _LEVELS / (_LEVELS - cut)
        words = torch.empty((x.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
        keep = (words.view(torch.int16)[: x.numel()] >= cut - _LEVELS // 2).view(x.shape)
        ctx.save_for_backward(keep)
        return torch.where(keep, x, 0).mul_(ctx.scale)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (keep,) = ctx.saved_tensors
        return torch.where(keep, gradient, 0).mul_(ctx.scale), None


def dropout(x: Tensor, p: float) -> Tensor:
    """Zero each element with probability `p`, scale the others by 1 / (1 - p).

    Args:
        x: any shape; on other devices than the CPU torch's own dropout is used.
        p: rounded to a multiple of 1/65536 on the CPU.
    """
    if x.device.type != "cpu" or round(p * _LEVELS) == _LEVELS:
        return nn.functional.dropout(x, p)
    return _Dropout.apply(x, p) if round(p * _LEVELS) else x


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
