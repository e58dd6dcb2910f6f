"""Attention over packed rows, forward and backward written out.

Torch's fused CPU attention has no dropout, and autograd over the plain formula copies every run of rows more often
than needed. Here what a pass needs of all runs lies in a few long buffers: dropout's random numbers are drawn once,
queries, keys and values are laid out in one copy a run, each run's result goes straight to its place, and the backward
pass is the textbook one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from embedkit.model.changing.dropout import draw_factor
from embedkit.model.running.masks import CAUSAL, Seen

Runs = Sequence[tuple[int, int]]
"""(rows, length) of each run of equally long rows, in the order of the tokens."""


@dataclass(frozen=True)
class _Run:
    """One run: where its tokens stand among all tokens, and its pairs of tokens among all pairs."""

    rows: int
    length: int
    heads: int
    tokens: slice
    pairs: slice

    def square(self, buffer: Tensor) -> Tensor:
        """Its part of a buffer of pairs, [rows * heads, length, length]."""
        return buffer[self.pairs].view(self.rows * self.heads, self.length, self.length)

    def heads_first(self, tokens: Tensor) -> Tensor:
        """Its part of [t, n, heads, d], seen as [n, rows, heads, length, d]."""
        return tokens[self.tokens].unflatten(0, (self.rows, self.length)).permute(2, 0, 3, 1, 4)

    def batched(self, tokens: Tensor) -> Tensor:
        """[n, rows, heads, length, d] in one piece, as the [n, rows * heads, length, d] of a batched product."""
        return tokens.view(-1, self.rows * self.heads, self.length, tokens.shape[-1])

    def spread(self, batched: Tensor) -> Tensor:
        """The way back from `batched`."""
        return batched.view(-1, self.rows, self.heads, self.length, batched.shape[-1])


@dataclass(frozen=True)
class Attended:
    """What `pull_back` needs of `attend`.

    Attributes:
        laid: per run its queries, keys and values [3, rows * heads, length, d].
        p: P of all runs, end to end.
        factor: what dropout multiplied P by; None without dropout.
    """

    laid: list[Tensor]
    p: Tensor
    factor: Tensor | None


def attend(
    parts: Sequence[Tensor], runs: Runs, scale: float, rate: float, seen: Sequence[Seen]
) -> tuple[Tensor, Attended]:
    """P = softmax(q k^T s) over what a token sees, D = P * factor, o = D v, for every row and head.

    Args:
        parts: queries, keys and values: [t, 3, heads, d], or three of [t, 1, heads, d].
        runs: how the t tokens divide into rows.
        scale: s.
        rate: dropout rate of P, below 1.
        seen: per run, what its tokens see of their row.

    Returns:
        o [t, 1, heads, d].
    """
    t, _, heads, d = parts[0].shape
    p = parts[0].new_empty(sum(rows * length * length for rows, length in runs) * heads)
    factor = draw_factor(p, rate) if rate else None
    out, laid = parts[0].new_empty(t, 1, heads, d), []
    for run, own in zip(_places(runs, heads), seen, strict=True):
        here = parts[0].new_empty(3, run.rows, heads, run.length, d)
        for place, part in zip(_split(here, parts), parts, strict=True):
            place.copy_(run.heads_first(part))
        laid.append(run.batched(here))
        q, k, v = laid[-1]
        logits = _scaled(q, k.mT, scale)
        found = torch.softmax(_hide(logits, own), -1, out=run.square(p))
        if factor is not None:
            found = torch.mul(found, run.square(factor), out=logits)
        run.heads_first(out).copy_(run.spread(torch.bmm(found, v)))
    return out, Attended(laid, p, factor)


def pull_back(gradient: Tensor, results: Sequence[Tensor], runs: Runs, scale: float, kept: Attended) -> None:
    """The gradient of queries, keys and values from g, that of o.

    dv = D^T g; dP = g v^T * factor; dS = P * (dP - sum(dP * P)) * s; dq = dS k; dk = dS^T q. What is not seen has
    P = 0, hence dS = 0.

    Args:
        gradient: g [t, 1, heads, d].
        results: written to; shaped as `parts` of `attend`.
        runs, scale: as in `attend`.
        kept: its second result.
    """
    heads, d = gradient.shape[2:]
    dropped = kept.p if kept.factor is None else kept.p * kept.factor
    for run, (q, k, v) in zip(_places(runs, heads), kept.laid, strict=True):
        g = run.batched(run.heads_first(gradient).contiguous())[0]
        p, dp = run.square(kept.p), torch.bmm(g, v.mT)
        if kept.factor is not None:
            dp.mul_(run.square(kept.factor))
        ds = torch._softmax_backward_data(dp, p, -1, p.dtype)
        found = gradient.new_empty(3, run.rows * heads, run.length, d)
        _scaled(ds, k, scale, found[0])
        _scaled(ds.mT, q, scale, found[1])
        torch.bmm(run.square(dropped).mT, g, out=found[2])
        for place, result in zip(_split(run.spread(found), results), results, strict=True):
            run.heads_first(result).copy_(place)


def keep(ctx: Any, kept: Attended, *more: Tensor) -> None:
    """Save `kept`, and other tensors with it, for the backward pass."""
    ctx.more = len(more)
    ctx.save_for_backward(*more, kept.p, kept.factor, *kept.laid)


def kept_by(ctx: Any) -> tuple[Attended, Sequence[Tensor]]:
    """What `keep` saved."""
    saved = ctx.saved_tensors
    p, factor, *laid = saved[ctx.more :]
    return Attended(laid, p, factor), saved[: ctx.more]


class _PackedAttention(torch.autograd.Function):
    """`attend` of queries, keys and values [t, heads, d] that come one by one."""

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
        with torch.autocast(query.device.type, enabled=False):
            out, kept = attend([t.unsqueeze(1) for t in (query, key, value)], runs, scale, rate, seen)
        keep(ctx, kept)
        ctx.runs, ctx.scale = runs, scale
        return out[:, 0]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        results = [torch.empty_like(gradients[0]) for _ in range(3)]
        pull_back(gradients[0].unsqueeze(1), [r.unsqueeze(1) for r in results], ctx.runs, ctx.scale, kept_by(ctx)[0])
        return *results, None, None, None, None


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


def attention_by_torch(
    query: Tensor, key: Tensor, value: Tensor, runs: Runs, scale: float | None, rate: float, seen: Sequence[Seen]
) -> Tensor:
    """Torch's fused attention within each row of each run; arguments and result as `attention_with_dropout`."""
    sizes = [rows * length for rows, length in runs]
    each = zip(*(states.split(sizes) for states in (query, key, value)), runs, seen, strict=True)
    return torch.cat([_attend(q, k, v, run, scale, rate, own) for q, k, v, run, own in each])


def _attend(
    query: Tensor, key: Tensor, value: Tensor, run: tuple[int, int], scale: float | None, rate: float, seen: Seen
) -> Tensor:
    """A run of equal length, [rows * length, heads, d]."""
    query, key, value = (states.unflatten(0, run).transpose(1, 2) for states in (query, key, value))
    mask, causal = (seen, False) if isinstance(seen, Tensor) else (None, seen == CAUSAL)
    states = F.scaled_dot_product_attention(
        query, key, value, attn_mask=mask, dropout_p=rate, is_causal=causal, scale=scale
    )
    return states.transpose(1, 2).flatten(0, 1)


def _scaled(a: Tensor, b: Tensor, scale: float, out: Tensor | None = None) -> Tensor:
    """Batched product, times `scale`, without a pass for the factor."""
    out = a.new_empty(a.shape[0], a.shape[1], b.shape[2]) if out is None else out
    return torch.baddbmm(out, a, b, beta=0, alpha=scale, out=out)


def _hide(logits: Tensor, seen: Seen) -> Tensor:
    """Logits [rows * heads, length, length], -inf where a query does not see a key; changed in place."""
    if seen is None:
        return logits
    if isinstance(seen, str):
        assert seen == CAUSAL
        seen = torch.ones(logits.shape[-2:], dtype=torch.bool, device=logits.device).tril()
    return logits.masked_fill_(~seen, float("-inf"))


def _split(three: Tensor, like: Sequence[Tensor]) -> Sequence[Tensor]:
    """Queries, keys and values [3, ...], divided as they are in `like`."""
    return three.split([part.shape[1] for part in like])


def _places(runs: Runs, heads: int) -> Iterator[_Run]:
    token = pair = 0
    for rows, length in runs:
        tokens, pairs = rows * length, rows * heads * length * length
        yield _Run(rows, length, heads, slice(token, token + tokens), slice(pair, pair + pairs))
        token, pair = token + tokens, pair + pairs
