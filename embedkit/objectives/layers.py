"""Layers that heads and objectives train."""

from __future__ import annotations

import torch
from torch import nn

INIT_STD = 0.02
"""BERT's initialisation of linear layers; PyTorch's default is another."""


def linear(into: int, out: int, generator: torch.Generator, bias: bool) -> nn.Linear:
    """A linear layer drawn from N(0, `INIT_STD`), bias 0; the global random state stays as it was."""
    layer = nn.utils.skip_init(nn.Linear, into, out, bias=bias)
    nn.init.normal_(layer.weight, 0.0, INIT_STD, generator=generator)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer
