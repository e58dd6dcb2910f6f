"""Attention with dropout over packed rows, forward and backward written out.

Torch's fused CPU attention has no dropout, and autograd over the plain formula copies every run of rows twice more
than needed. Here each run's result goes straight to its place, and the backward pass is the textbook one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from embedkit.model.changing.dropout import draw_factor
from embedkit.model.running.masks import CAUSAL, Seen

Runs = Sequence[tuple[int, int]]
"""(rows, length) of each run of equally long rows, in the order of the tokens."""


class _PackedAttention(torch.autograd.Function):
    """P = softmax(q k^T s) over what a token sees, D = P * factor, o = D v, for every row and head.

    Backward, with g the gradient of o: dv = D^T g; dP = g v^T * factor; dS = P * (dP - sum(dP * P)) * s;
    dq = dS k; dk = dS^T q. What is not seen has P = 0, hence dS = 0.
    """

    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        runs: Runs,
        scale: float,
        rate: float,
        seen: Sequence[Seen],
    ) -> Tensor:
        out = torch.empty_like(query)
        saved: list[Tensor] = []
        with torch.autocast(query.device.type, enabled=False):
            for (here, run), own in zip(_places(runs), seen, strict=True):
                q, k, v = (_heads_first(t[here], run) for t in (query, key, value))
                p = _hide(q.mul_(scale) @ k.mT, own).softmax(-1)
                factor = draw_factor(p, rate)
                _rows_first(out[here], run).copy_(((p * factor) @ v).view(run[0], -1, run[1], v.shape[-1]))
                saved += [q, k, v, p, factor]
        ctx.save_for_backward(*saved)
        ctx.runs, ctx.scale = runs, scale
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        saved = iter(ctx.saved_tensors)
        dq, dk, dv = (torch.empty_like(gradient) for _ in range(3))
        for here, run in _places(ctx.runs):
            q, k, v, p, factor = (next(saved) for _ in range(5))
            g = _heads_first(gradient[here], run)
            dp = (g @ v.mT).mul_(factor)
            ds = torch._softmax_backward_data(dp, p, -1, p.dtype)
            results = ((ds @ k).mul_(ctx.scale), ds.mT @ q, (p * factor).mT @ g)
            for target, result in zip((dq, dk, dv), results, strict=True):
                _rows_first(target[here], run).copy_(result.view(run[0], -1, run[1], result.shape[-1]))
        return dq, dk, dv, None, None, None, None


def attention_with_dropout(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    runs: Runs,
    scale: float,
    rate: float,
    seen: Sequence[Seen] | None = None,
) -> Tensor:
    """Self-attention within each row, dropout on its probabilities.

    Args:
        query, key, value: [t, heads, d].
        runs: how the t tokens divide into rows.
        scale: factor of q k^T.
        rate: dropout rate, below 1.
        seen: per run, what its tokens see of their row; None everything.

    Returns:
        [t, heads, d].
    """
    return _PackedAttention.apply(query, key, value, runs, scale, rate, seen or [None] * len(runs))


def _hide(logits: Tensor, seen: Seen) -> Tensor:
    """Logits [rows * heads, length, length], -inf where a query does not see a key; changed in place."""
    if seen is None:
        return logits
    if isinstance(seen, str):
        assert seen == CAUSAL
        seen = torch.ones(logits.shape[-2:], dtype=torch.bool, device=logits.device).tril()
    return logits.masked_fill_(~seen, float("-inf"))


def _places(runs: Runs) -> Iterator[tuple[slice, tuple[int, int]]]:
    start = 0
    for rows, length in runs:
        yield slice(start, start + rows * length), (rows, length)
        start += rows * length


def _rows_first(tokens: Tensor, run: tuple[int, int]) -> Tensor:
    """[rows * length, heads, d] seen as [rows, heads, length, d]."""
    return tokens.unflatten(0, run).transpose(1, 2)


def _heads_first(tokens: Tensor, run: tuple[int, int]) -> Tensor:
    """A copy as [rows * heads, length, d], which a batched matrix product takes as it is."""
    copy = _rows_first(tokens, run).clone(memory_format=torch.contiguous_format)
    return copy.view(-1, run[1], tokens.shape[-1])
