"""Attention over packed rows on a GPU, by the kernels of variable length that torch itself carries.

They are those behind `torch.nn.functional.scaled_dot_product_attention`: FlashAttention-2 (arXiv 2307.08691) in half
precision, the memory-efficient one (arXiv 2112.05682) also in float32 and on older GPUs. Both take rows of any length
in one launch, with dropout and backward, and need no package beside torch. torch's public function of variable length
(`torch.nn.attention.varlen`) has neither dropout nor float32, so the operators are called by name; that they do what
padded rows give is tried at every load (`embedkit.model.running.packing`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from embedkit.model.running.attention import Runs, attention_by_torch
from embedkit.model.running.masks import CAUSAL, Seen, window

HALF = (torch.bfloat16, torch.float16)
FLASH_SINCE = (8, 0)
"""Compute capability that FlashAttention-2 needs."""
WIDEST = 256
"""Numbers per head that its kernels take at most."""
ALIGNED = 8
"""Both kernels read this many numbers of a head at once."""


@dataclass(frozen=True)
class Rows:
    """How packed tokens divide into rows.

    Attributes:
        runs: (rows, length) of each run of equally long rows.
        ends: int32 [r + 1] on the device, where rows begin and end.
    """

    runs: Runs
    ends: Tensor

    @property
    def longest(self) -> int:
        """Tokens of the longest row."""
        return max(length for _, length in self.runs)


def attention_by_kernels(
    query: Tensor, key: Tensor, value: Tensor, rows: Rows, scale: float | None, rate: float, seen: Sequence[Seen]
) -> Tensor:
    """Self-attention within each row, dropout on its probabilities.

    Args:
        query, key, value: [t, heads, d] on a GPU.
        rows: how the t tokens divide.
        scale: factor of q k^T; None is 1 / sqrt(d).
        rate: dropout rate, below 1.
        seen: per run, what its tokens see of their row.

    Returns:
        [t, heads, d], in the type of autocast where that is on.
    """
    kind = query.device.type
    if torch.is_autocast_enabled(kind):
        query, key, value = (states.to(torch.get_autocast_dtype(kind)) for states in (query, key, value))
    left, right = _window(seen)
    if left is not None and right is not None:
        if _flash_takes(query):
            return _flash(query, key, value, rows, scale, rate, left, right)
        if _efficient_takes(query) and left < 0 and right <= 0:
            return _efficient(query, key, value, rows, scale, rate, causal=right == 0)
    here = [s.to(query.device) if isinstance(s, Tensor) else s for s in seen]
    return attention_by_torch(query, key, value, rows.runs, scale, rate, here)


def _window(seen: Sequence[Seen]) -> tuple[int | None, int | None]:
    """Tokens seen to the left and to the right of each, -1 for all; None, None where the kernels do not know the mask.

    The rows of a layer see alike, so what the longest sees holds for all.
    """
    squares = [s for s in seen if isinstance(s, Tensor)]
    if squares:
        found = window(max(squares, key=len))
        return (None, None) if found is None else found
    return (-1, 0) if CAUSAL in seen else (-1, -1)


def _flash_takes(query: Tensor) -> bool:
    size = query.shape[-1]
    fits = query.dtype in HALF and size % ALIGNED == 0 and size <= WIDEST and torch.backends.cuda.flash_sdp_enabled()
    return fits and torch.cuda.get_device_capability(query.device) >= FLASH_SINCE


def _efficient_takes(query: Tensor) -> bool:
    known = query.dtype in (*HALF, torch.float32)
    return known and query.shape[-1] % ALIGNED == 0 and torch.backends.cuda.mem_efficient_sdp_enabled()


def _flash(
    query: Tensor, key: Tensor, value: Tensor, rows: Rows, scale: float | None, rate: float, left: int, right: int
) -> Tensor:
    longest, causal = rows.longest, (left, right) == (-1, 0)
    out: Tensor = torch.ops.aten._flash_attention_forward(
        query,
        key,
        value,
        rows.ends,
        rows.ends,
        longest,
        longest,
        rate,
        causal,
        False,
        scale=scale,
        window_size_left=None if causal else left,
        window_size_right=None if causal else right,
    )[0]
    return out


def _efficient(
    query: Tensor, key: Tensor, value: Tensor, rows: Rows, scale: float | None, rate: float, *, causal: bool
) -> Tensor:
    longest = rows.longest
    found = torch.ops.aten._efficient_attention_forward(
        query[None],
        key[None],
        value[None],
        None,
        rows.ends,
        rows.ends,
        longest,
        longest,
        rate,
        int(causal),
        torch.is_grad_enabled() and any(t.requires_grad for t in (query, key, value)),
        scale=scale,
    )
    out: Tensor = found[0][0]
    return out
