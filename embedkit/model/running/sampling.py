"""Sampling from a language model so that a row's tokens do not depend on its neighbours."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import LogitsProcessor


class Gumbel(LogitsProcessor):
    """Sampling as an argmax: the largest of ``logits + Gumbel noise`` is a draw from ``softmax(logits)``.

    Every row has random numbers of its own, so its answer is a function of its seed and not of the batch it is in
    (but for rounding: padding changes the last bits of logits).
    """

    def __init__(self, seeds: Sequence[int], device: torch.device) -> None:
        self.generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        size, device = scores.shape[-1], scores.device
        noise = torch.stack(
            [torch.empty(size, device=device).exponential_(generator=generator) for generator in self.generators]
        )
        return scores.float() - noise.log()
