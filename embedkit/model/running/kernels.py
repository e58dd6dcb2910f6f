"""Attention over packed rows on a GPU, by the kernels of variable length that torch itself carries.

They are those behind `torch.nn.functional.scaled_dot_product_attention`: FlashAttention-2 (arXiv 2307.08691) in half
precision, the memory-efficient one (arXiv 2112.05682) also in float32 and on older GPUs. Both take rows of any length
in one launch, with backward, the first with dropout too, and need no package beside torch. torch's public function of
variable length (`torch.nn.attention.varlen`) has neither dropout nor float32, so the operators are called by name. What
a GPU gives for them, gradient included, is therefore tried before the first use (`obstacle`), and what a model gives at
every load (`embedkit.model.running.packing`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from embedkit.model.running.attention import Runs, attention_by_torch
from embedkit.model.running.masks import CAUSAL, Seen, Window, as_window

HALF = (torch.bfloat16, torch.float16)
FLASH_SINCE = (8, 0)
"""Compute capability that FlashAttention-2 needs."""
WIDEST = 256
"""Numbers per head that its kernels take at most."""
ALIGNED = 8
"""Both kernels read this many numbers of a head at once."""

ALL, BEFORE = as_window(None), as_window(CAUSAL)
"""The windows that both kernels know."""

FILLING = 8
"""Where rows would grow by more than this if they were filled up to the longest, they go run by run."""

TRIAL = ((2, 9), (3, 4), (1, 1))
"""Rows of a trial."""
TOLERANCES = {torch.float32: 1e-3, torch.bfloat16: 5e-2}
"""Largest relative distance of a result or a gradient from the exact one in a trial."""


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

    @property
    def filling(self) -> float:
        """Tokens of the rows filled up to the longest, over their own."""
        return self.longest * sum(rows for rows, _ in self.runs) / sum(rows * length for rows, length in self.runs)


def attention_by_kernels(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    rows: Rows,
    scale: float | None,
    rate: float,
    window: Window | None,
    seen: Callable[[], Sequence[Seen]],
) -> Tensor:
    """Self-attention within each row, dropout on its probabilities.

    Args:
        query, key, value: [t, heads, d] on a GPU.
        rows: how the t tokens divide.
        scale: factor of q k^T; None is 1 / sqrt(d).
        rate: dropout rate, below 1.
        window: what a token sees of its row; None where that is no window.
        seen: per run, what its tokens see of their row; asked where no kernel knows the window or takes the numbers.

    Returns:
        [t, heads, d], in the type of autocast where that is on.
    """
    kind = query.device.type
    if torch.is_autocast_enabled(kind):
        query, key, value = (states.to(torch.get_autocast_dtype(kind)) for states in (query, key, value))
    if window is not None and _flash_takes(query):
        return _flash(query, key, value, rows, scale, rate, window)
    if window in (ALL, BEFORE) and not rate and _efficient_takes(query):
        return _efficient(query, key, value, rows, scale, causal=window == BEFORE)
    if window is not None and rows.filling <= FILLING:
        return _padded(query, key, value, rows, scale, rate, window)
    here = [s.to(query.device) if isinstance(s, Tensor) else s for s in seen()]
    return attention_by_torch(query, key, value, rows.runs, scale, rate, here)


def _flash_takes(query: Tensor) -> bool:
    size = query.shape[-1]
    fits = query.dtype in HALF and size % ALIGNED == 0 and size <= WIDEST and torch.backends.cuda.flash_sdp_enabled()
    return fits and torch.cuda.get_device_capability(query.device) >= FLASH_SINCE


def _efficient_takes(query: Tensor) -> bool:
    known = query.dtype in (*HALF, torch.float32)
    return known and query.shape[-1] % ALIGNED == 0 and torch.backends.cuda.mem_efficient_sdp_enabled()


def _flash(
    query: Tensor, key: Tensor, value: Tensor, rows: Rows, scale: float | None, rate: float, window: Window
) -> Tensor:
    longest, causal = rows.longest, window == BEFORE
    left, right = (None, None) if causal else window
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
        window_size_left=left,
        window_size_right=right,
    )[0]
    return out


def _efficient(query: Tensor, key: Tensor, value: Tensor, rows: Rows, scale: float | None, *, causal: bool) -> Tensor:
    """Without dropout: with it, this kernel gives all rows of torch 2.11 the same mask."""
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
        0.0,
        int(causal),
        torch.is_grad_enabled() and any(t.requires_grad for t in (query, key, value)),
        scale=scale,
    )
    out: Tensor = found[0][0]
    return out


def _padded(
    query: Tensor, key: Tensor, value: Tensor, rows: Rows, scale: float | None, rate: float, window: Window
) -> Tensor:
    """Rows filled up to the longest for the attention alone, where no kernel of variable length does it."""
    count, length = len(rows.ends) - 1, rows.longest
    starts, ends = rows.ends[:-1].long(), rows.ends[1:].long()
    column, token = (torch.arange(n, device=query.device) for n in (length, len(query)))
    row = torch.bucketize(token, ends, right=True)
    place = row * length + token - starts[row]
    real = column < (ends - starts)[:, None]
    ahead = column[None] - column[:, None]
    near = torch.ones_like(ahead, dtype=torch.bool)
    for bound, distance in zip(window, (-ahead, ahead), strict=True):
        near &= distance <= (bound if bound >= 0 else length)
    sees = (real[:, None, :] & near) | ~real[:, :, None]  # what fills a row sees all of it: nothing divides by nought

    def filled(states: Tensor) -> Tensor:
        wide = states.new_zeros(count * length, *states.shape[1:]).index_copy(0, place, states)
        return wide.unflatten(0, (count, length)).transpose(1, 2)

    q, k, v = (filled(states) for states in (query, key, value))
    out = scaled_dot_product_attention(q, k, v, attn_mask=sees[:, None], dropout_p=rate, scale=scale)
    return out.transpose(1, 2).flatten(0, 1).index_select(0, place)


@cache
def obstacle(device: torch.device) -> str | None:
    """Why a device's kernels are not used, or None: results and gradients of a few rows against exact ones.

    Tried are both kernels, over all of a row, what stands before a token, and a window.
    """
    near = [torch.ones(length, length, dtype=torch.bool).triu(-2).tril(2) for _, length in TRIAL]
    for dtype, tolerance in TOLERANCES.items():
        for seen in ([None] * 3, [CAUSAL] * 3, near):
            try:
                apart = _distance(device, dtype, seen)
            except Exception as error:  # a build of torch, or a GPU, without them
                return f"torch's kernels for rows of any length fail here: {type(error).__name__}: {error}"
            if not apart < tolerance:
                return f"torch's kernels for rows of any length are {apart:.1e} off here in {dtype}"
    return None


def _distance(device: torch.device, dtype: torch.dtype, seen: Sequence[Seen]) -> float:
    """The largest relative distance of a result or gradient of `attention_by_kernels` from the exact one."""
    lengths = [length for count, length in TRIAL for _ in range(count)]
    rows = Rows(TRIAL, torch.tensor([0, *accumulate(lengths)], dtype=torch.int32, device=device))
    draw = torch.Generator().manual_seed(0)
    drawn = [torch.randn(sum(lengths), 2, 32, generator=draw).to(device, dtype) for _ in range(4)]
    window = as_window(seen[0])
    with torch.enable_grad(), torch.autocast(device.type, enabled=False):
        found = _with_gradients(
            drawn, lambda q, k, v: attention_by_kernels(q, k, v, rows, None, 0.0, window, lambda: seen)
        )
        here = [s.to(device) if isinstance(s, Tensor) else s for s in seen]
        exact = [t.double() for t in drawn]
        wanted = _with_gradients(exact, lambda q, k, v: attention_by_torch(q, k, v, TRIAL, None, 0.0, here))
    pairs = zip(found, wanted, strict=True)
    return max(float((f.double() - w).norm() / w.norm().clamp(min=1e-12)) for f, w in pairs)


def _with_gradients(drawn: Sequence[Tensor], attend: Callable[[Tensor, Tensor, Tensor], Tensor]) -> list[Tensor]:
    """The result, and the gradient of queries, keys and values from the last of four tensors."""
    query, key, value = (t.detach().requires_grad_() for t in drawn[:3])
    out = attend(query, key, value)
    return [out.detach(), *torch.autograd.grad(out, (query, key, value), drawn[3])]
