"""Attention whose kernels take half precision only, on weights that are kept in float32."""

from __future__ import annotations

import contextlib
from typing import Any

import torch

ROUNDING = 2.0**-8
"""Relative size of one rounding to bfloat16."""


def half_only(backbone: Any) -> bool:
    """Whether the attention of a backbone is flash attention, in one of the packages that have its kernels."""
    return "flash" in (getattr(getattr(backbone, "config", None), "_attn_implementation", None) or "")


def half_where_needed(backbone: Any) -> contextlib.AbstractContextManager[Any]:
    """bf16 autocast where the attention is `half_only`, as far as nobody has turned autocast on already; else nothing.

    Outside of a step in bf16 transformers would hand such kernels the float32 of the weights, which they refuse.
    """
    device = next(backbone.parameters()).device.type
    if not half_only(backbone) or torch.is_autocast_enabled(device):
        return contextlib.nullcontext()
    return torch.autocast(device, torch.bfloat16)
