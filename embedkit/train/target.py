"""A copy of the encoder that follows it slowly: MoCo's key encoder."""

from __future__ import annotations

import copy
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from embedkit.types import RowBatch


class _Encodes(Protocol):
    @property
    def module(self) -> nn.Module: ...
    def features(self, batch: RowBatch, rows: np.ndarray) -> dict[str, Any]: ...


class Target(nn.Module):
    """``copy <- momentum * copy + (1 - momentum) * encoder`` after every update; it begins as the encoder.

    It sees the rows of a batch as the encoder does (views, prompts, truncation) and never has dropout. A head that is
    used in training only embeds here too. Weights that do not train are shared, not copied.

    Args:
        encoder: the encoder that trains.
        momentum: m.
    """

    def __init__(self, encoder: _Encodes, momentum: float) -> None:
        super().__init__()
        self._encoder, self.momentum = (encoder,), momentum
        frozen: dict[int, Any] = {id(p): p for p in encoder.module.parameters() if not p.requires_grad}
        self.module = copy.deepcopy(encoder.module, frozen)
        self._pairs = [
            (mine, theirs)
            for mine, theirs in zip(self.module.parameters(), encoder.module.parameters(), strict=True)
            if mine is not theirs
        ]
        for mine, _ in self._pairs:
            mine.requires_grad_(False)
        self.train()

    def train(self, mode: bool = True) -> Target:
        """Whatever `mode`: the train-only head is in use, dropout is off."""
        super().train(False)
        self.module.training = True  # alone: what is inside stays in evaluation
        return self

    @torch.no_grad()
    def forward(self, batch: RowBatch) -> Tensor:
        """[n * S, d] embeddings, zeros where an example has no text."""
        block: Tensor | None = None
        for rows in batch.micro_batches:
            out = self.module(self._encoder[0].features(batch, rows))
            if block is None:
                wide = torch.promote_types(out.dtype, torch.float32)
                block = out.new_zeros((batch.n * batch.slots, out.shape[-1]), dtype=wide)
            block[torch.from_numpy(batch.position[rows]).to(out.device)] = out.to(block.dtype)
        assert block is not None, "a batch has at least one row"
        return batch.spread(block)

    @torch.no_grad()
    def follow(self) -> None:
        """Move towards the encoder as it is now."""
        for mine, theirs in self._pairs:
            mine.lerp_(theirs, 1 - self.momentum)
