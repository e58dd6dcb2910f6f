"""Heads after pooling."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from torch import nn

from embedkit.model.reading.seeding import seeded

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
    with seeded(seed):
        linear = nn.Linear(dim, config.dim or dim)
    _initialise(linear, seed)
    return nn.Sequential(OrderedDict(linear=linear, activation=_activation(config)))


def new_dense(config: Head, dim: int, seed: int) -> Dense:
    """The same head as a sentence-transformers module: it belongs to the model and is saved with it."""
    from sentence_transformers.sentence_transformer.modules import Dense

    with seeded(seed):
        dense = Dense(dim, config.dim or dim, activation_function=_activation(config))
    _initialise(dense.linear, seed)
    return dense


def _activation(config: Head) -> nn.Module:
    return nn.Tanh() if config.activation == "tanh" else nn.Identity()


def _initialise(linear: nn.Linear, seed: int) -> None:
    with seeded(seed):
        nn.init.normal_(linear.weight, 0.0, INIT_STD)
    nn.init.zeros_(linear.bias)
