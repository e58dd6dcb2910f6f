"""Weights that are drawn to where they began: L2-SP (arXiv 1802.01483), decoupled from the gradient."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments


class TowardsStart(TrainerCallback):
    """After every optimiser step: ``w <- w - rate * strength * (w - w0)``, at most all the way.

    L2-SP adds ``strength / 2 * |w - w0|^2`` to the loss. Here it is applied beside the optimiser, as AdamW does with
    weight decay (ours), so that Adam's scaling does not reach it. The start is what the weights are when this is made,
    which is before a checkpoint is loaded: a resumed run has the same.

    Args:
        parameters: of the encoder.
        strength: per learning rate.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], strength: float) -> None:
        self.strength = strength
        self.start = {p: p.detach().clone() for p in parameters if p.requires_grad}

    @torch.no_grad()
    def on_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Draw every group by its own learning rate."""
        for group in kwargs["optimizer"].param_groups:
            share = min(1.0, group["lr"] * self.strength)
            for p in group["params"]:
                if p in self.start:
                    p.lerp_(self.start[p].to(p), share)
