"""Embeddings whose coordinates are not negative: a wrapper of objectives on cosines."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional

from embedkit.objectives.base import Objective, Term, upcast
from embedkit.recipe.objectives.nonnegative import Activation
from embedkit.types import Embeddings


def rep_relu(z: Tensor) -> Tensor:
    """``max(0, z)`` with the gradient of GELU, which is not zero below 0."""
    soft = functional.gelu(z)
    return z.detach().relu() + (soft - soft.detach())


_ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "rep_relu": rep_relu,
    "softplus": functional.softplus,
    "none": torch.clone,
}


def non_negative(z: Tensor, activation: Activation, floor: float) -> Tensor:
    """Rows of z [..., d] through the activation, ready to be normalised.

    The gradient of ``x / max(|x|, 1e-12)`` at a row of zeros is 1e12 of what comes in, and a row with no positive
    coordinate is one. Rows shorter than `floor` get the gradient that rows of that length have, their values stay.
    """
    x = _ACTIVATIONS[activation](upcast(z))
    share = (x.detach().norm(dim=-1, keepdim=True).clamp_min(1e-12) / floor).clamp_max(1.0) if floor else 1.0
    return x.detach() + share * (x - x.detach())


class NonNegative(Objective):
    """The inner objective on embeddings whose coordinates are not negative (NCL, arXiv 2403.12459).

    ``z -> act(z) -> z / |z| -> inner objective``; the authors' inner loss is NT-Xent over both views. Cosines lie in
    0..1, so temperatures should be smaller than elsewhere. Coordinates become sparse and can be read one by one; the
    activation is part of training alone, so apply it to embeddings to use them so.

    Args:
        objective: on cosines; evaluated on all roles.
        activation: relu; rep_relu, relu forward and GELU backward; softplus; or none.
        floor: length below which a row's gradient does not grow; 0 has none.
    """

    def __init__(self, objective: Objective, activation: Activation = "rep_relu", floor: float = 1e-3) -> None:
        super().__init__()
        self.objective, self.activation, self.floor = objective, activation, floor

    def terms(self, e: Embeddings) -> list[Term]:
        query, positive, negative = (self._act(role) for role in (e.query, e.positive, e.negative))
        return self.objective.terms(replace(e, query=query, positive=positive, negative=negative))

    def _act(self, z: Tensor) -> Tensor:
        return non_negative(z, self.activation, self.floor)
