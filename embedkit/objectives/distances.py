"""Euclidean distances with gradients that stay finite."""

from __future__ import annotations

import torch
from torch import Tensor

from embedkit.objectives.logits import products


def square_distances(x: Tensor, y: Tensor) -> Tensor:
    """[n, k] squared Euclidean distances of the rows of x [n, d] and y [k, d], never below 0."""
    square = x.square().sum(1)[:, None] + y.square().sum(1) - 2 * products(x, y)
    return square.clamp_min(0.0)


def power(square: Tensor, exponent: float) -> Tensor:
    """``sqrt(square)^exponent`` with gradient 0 at 0, where a root has none."""
    if exponent == 2:
        return square
    positive = square > 0
    return torch.where(positive, torch.where(positive, square, 1.0).pow(exponent / 2), 0.0)


def chord(cosine: Tensor) -> Tensor:
    """Euclidean distance of two unit vectors with this cosine."""
    return power((2 - 2 * cosine).clamp_min(0.0), 1.0)
