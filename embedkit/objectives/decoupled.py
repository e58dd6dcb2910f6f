"""Decoupled contrastive learning: the positive stands in no denominator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from embedkit.objectives.contrastive import InfoNCE
from embedkit.objectives.logits import prepare
from embedkit.recipe.objectives.contrastive import Direction
from embedkit.types import Embeddings


class DCL(InfoNCE):
    """DCL and DCLW (arXiv 2110.06848): InfoNCE without the positive in the denominator, DCLW with weighted positives::

        loss_i = log sum over negatives j of e^(s_ij / t) - w_i s_i / t
        w_i    = 2 - N softmax over the batch of (s_i / sigma)

    s_i is the similarity of the row's pair. Pairs that are alike already count less; w has mean 1, and is negative
    where one pair holds most of the softmax. It is of the global batch, the same in both directions. With several
    positives (ours) the softmax is over all pairs, and N their number. The loss has no floor at 0, and the pull on a
    positive never ends: with cosines it may fall to about ``log(number of negatives) - 2 / t``.

    Args:
        sigma: temperature of the weights; None: w = 1, DCL.
        detach_weights: take w as constants (lightly); False lets gradient flow through them. Same value.
        temperature, directions, partition, positive_in_denominator, options: those of InfoNCE.
    """

    def __init__(
        self,
        sigma: float | None = None,
        detach_weights: bool = True,
        temperature: float = 0.1,
        directions: Sequence[Direction] = ("q-d", "q-q", "d-q", "d-d"),
        partition: Literal["joint", "per_direction"] = "per_direction",
        positive_in_denominator: Literal["never"] = "never",
        **options: Any,
    ) -> None:
        super().__init__(
            temperature=temperature,
            directions=directions,
            partition=partition,
            positive_in_denominator=positive_in_denominator,
            **options,
        )
        self.sigma, self.detach_weights = sigma, detach_weights

    def lift(self, e: Embeddings, rows: Tensor, positive: Tensor) -> Tensor | float:
        return 0.0 if self.sigma is None else (1 - self._weights(e, self.sigma)[rows]) * positive

    def _weights(self, e: Embeddings, sigma: float) -> Tensor:
        """[N, P] w of all pairs of the batch."""
        query, document = prepare(e.query, self.similarity), prepare(e.positive, self.similarity)
        pair = (query[:, None] * document).sum(-1)
        share = torch.softmax(pair.flatten() / sigma, 0).view_as(pair)
        weights = 2 - pair.numel() * share
        return weights.detach() if self.detach_weights else weights
