"""Heads after pooling."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from sentence_transformers.base.modules import Dense

    from embedkit.recipe.schema import Head

INIT_STD = 0.02
"""BERT's initialisation, which SimCSE's head has; PyTorch's default for a linear layer is another."""


def new_head(config: Head, dim: int, seed: int) -> nn.Sequential:
    """A head for training only: x -> act(W x + b), [r, dim] -> [r, config.dim or dim].

    W is drawn from N(0, 0.02), b is 0 (SimCSE, arXiv 2104.08821: the pooler's "cls" head, dropped at test for
    unsupervised training).
    """
    linear = nn.Linear(dim, config.dim or dim)
    _initialise(linear, seed)
    activation: nn.Module = nn.Tanh() if config.activation == "tanh" else nn.Identity()
    return nn.Sequential(OrderedDict(linear=linear, activation=activation))


def new_dense(config: Head, dim: int, seed: int) -> Dense:
    """The same head as a sentence-transformers module: it belongs to the model and is saved with it."""
    from sentence_transformers.sentence_transformer.modules import Dense

    activation = nn.Tanh() if config.activation == "tanh" else nn.Identity()
    dense = Dense(dim, config.dim or dim, activation_function=activation)
    _initialise(dense.linear, seed)
    return dense


def _initialise(linear: nn.Linear, seed: int) -> None:
    """Draw from a generator of its own: the global random state does not depend on whether there is a head."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        linear.weight.normal_(0.0, INIT_STD, generator=generator)
        linear.bias.zero_()
