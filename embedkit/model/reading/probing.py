"""Trying a backbone out: what an architecture really does is asked of the model, not of a list of names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor


@contextmanager
def evaluating(module: Any) -> Iterator[None]:
    """Evaluation mode, and back to what every submodule had."""
    before = [(m, m.training) for m in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for m, training in before:
            m.training = training


def trial_ids(backbone: Any, length: int) -> Tensor:
    """Token ids [1, length] from the middle of the vocabulary, where none is special."""
    vocabulary = backbone.get_input_embeddings().num_embeddings
    return (vocabulary // 2 + torch.arange(length, device=next(backbone.parameters()).device))[None]


def states(backbone: Any, ids: Tensor, mask: Tensor | None = None) -> Tensor:
    """Last hidden states [r, t, d] without dropout or graph."""
    with evaluating(backbone), torch.inference_mode():
        found: Tensor = backbone(input_ids=ids, attention_mask=mask).last_hidden_state
    return found


def difference(a: Tensor, b: Tensor) -> float:
    """Largest difference, relative to the largest element of `b`."""
    return float((a - b).abs().max() / b.abs().max().clamp_min(1e-12))
