"""Trying a backbone out: what an architecture really does is asked of the model, not of a list of names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from embedkit.model.reading.precision import ROUNDING, half_only, half_where_needed

NOISE = 1e-3
"""Relative difference that float32 may make where rows are padded or cut in other ways."""


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
    with evaluating(backbone), torch.inference_mode(), half_where_needed(backbone):
        found: Tensor = backbone(input_ids=ids, attention_mask=mask).last_hidden_state
    return found


def agree(backbone: Any, a: Tensor, b: Tensor) -> bool:
    """Whether states of a backbone differ by no more than the rounding of its attention."""
    return difference(a, b) < (4 * ROUNDING if half_only(backbone) else NOISE)


def difference(a: Tensor, b: Tensor) -> float:
    """Largest difference, relative to the largest element of `b`."""
    return float((a - b).abs().max() / b.abs().max().clamp_min(1e-12))
