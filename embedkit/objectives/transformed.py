"""MoCo with pairs that are drawn apart and negatives that are mixed with each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from embedkit.objectives.queue import MoCo
from embedkit.types import Embeddings

_TRANSFORM = 0x46545231
"""Keeps these draws apart from others that depend on the step."""


@dataclass(frozen=True)
class Draws:
    """What is random in a step.

    Attributes:
        apart: l of the pairs, in 1..2.
        share: l' of the negatives, in 0..1.
        order: [K] which key each is mixed with.
    """

    apart: float
    share: float
    order: Tensor


class FeatureTransform(MoCo):
    """Positive extrapolation and negative interpolation (arXiv 2108.02982) in MoCo's loss, unit vectors q, k, queue Q::

        q^ = l q + (1 - l) k      k^ = l k + (1 - l) q      l = 1 + Beta(positive_alpha, positive_alpha)
        Q^ = l' Q + (1 - l') Q[order]                       l' = Beta(negative_alpha, negative_alpha)

    One l, one l' and one order a step. The pair becomes harder, ``q^ k^ = s + 2 l (1 - l) (1 - s)`` with s = q k; the
    mixed keys take the place of the queue's in the loss (the queue keeps them as they are). Nothing is brought to
    length 1 again, so logits exceed 1 / t. Keys are constants, but the query inside of k^ is not: gradient flows
    through both mixtures, as in the authors' code. A mixture of which one key is known to match the query is left out.

    Args:
        positive_alpha, negative_alpha: of the Beta distributions; None leaves pairs, or negatives, as they are.
        temperature, queue, momentum, top, mask_duplicates: those of MoCo.
    """

    name = "feature_transform"

    def __init__(self, positive_alpha: float | None = 2.0, negative_alpha: float | None = 1.6, **options: Any) -> None:
        super().__init__(**options)
        self.positive_alpha, self.negative_alpha = positive_alpha, negative_alpha

    def draw(self, e: Embeddings) -> Draws:
        """By the step and the length of the queue alone."""
        rng = np.random.default_rng([_TRANSFORM, e.step])
        apart, share = (rng.beta(a or 1.0, a or 1.0) for a in (self.positive_alpha, self.negative_alpha))
        order = torch.from_numpy(rng.permutation(len(self.memory))).to(e.query.device)
        return Draws(1 + float(apart), float(share), order)

    def pairs(self, e: Embeddings, query: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
        if self.positive_alpha is None:
            return super().pairs(e, query, key)
        apart, query = self.draw(e).apart, query[:, None]
        drawn, away = apart * query + (1 - apart) * key, apart * key + (1 - apart) * query
        return drawn, (drawn * away).sum(-1)

    def negatives(self, e: Embeddings, key: Tensor, usable: Tensor) -> tuple[Tensor, Tensor]:
        if self.negative_alpha is None:
            return key, usable
        draws = self.draw(e)
        mixed = draws.share * key + (1 - draws.share) * key[draws.order]
        return mixed, usable & usable[:, draws.order]
