"""Pieces of a BERT-like layer with their backward pass written out: fewer passes over memory than autograd makes.

Each equals the torch code that stands in its docstring, in value and gradient up to rounding, and draws the same
dropout masks from the same random state (`tests/model/running/fused`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from embedkit.model.changing.dropout import draw_factor
from embedkit.model.running.attention import Runs, attend, attention_by_torch, keep, kept_by, pull_back
from embedkit.model.running.fused import products
from embedkit.model.running.masks import Seen


class _Dense(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return products.linear(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return _linear_backward(ctx.needs_input_grad, gradients[0].contiguous(), *ctx.saved_tensors)


def dense(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """``F.linear(x, weight, bias)``.

    Args:
        x: [t, k].
        weight: [n, k].
        bias: [n], or None.

    Returns:
        [t, n].
    """
    return _Dense.apply(x, weight, bias)


class _DenseGelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        u = products.linear(x, weight, bias)
        ctx.save_for_backward(x, weight, u)
        return F.gelu(u)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, u = ctx.saved_tensors
        du = torch.ops.aten.gelu_backward(gradients[0], u)
        return _linear_backward(ctx.needs_input_grad, du, x, weight)


def dense_gelu(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """``F.gelu(F.linear(x, weight, bias))``, the exact GELU.

    Args:
        x: [t, k].
        weight: [n, k].
        bias: [n].

    Returns:
        [t, n].
    """
    return _DenseGelu.apply(x, weight, bias)


class _DenseAddNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        residual: Tensor,
        weight: Tensor,
        bias: Tensor,
        gamma: Tensor,
        beta: Tensor,
        eps: float,
        rate: float,
    ) -> Tensor:
        y = products.linear(x, weight, bias)
        factor = draw_factor(y, rate) if rate else None
        total = y.add_(residual) if factor is None else torch.addcmul(residual, y, factor, out=y)
        out, mean, scale = torch.native_layer_norm(total, gamma.shape, gamma, beta, eps)
        ctx.save_for_backward(x, weight, total, mean, scale, gamma, beta, factor)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, total, mean, scale, gamma, beta, factor = ctx.saved_tensors
        needed = ctx.needs_input_grad
        dtotal, dgamma, dbeta = torch.ops.aten.native_layer_norm_backward(
            gradients[0].contiguous(), total, gamma.shape, mean, scale, gamma, beta, [True, needed[4], needed[5]]
        )
        dy = dtotal if factor is None else dtotal * factor
        dx, dweight, dbias = _linear_backward([needed[0], *needed[2:4]], dy, x, weight)
        return dx, dtotal, dweight, dbias, dgamma, dbeta, None, None


def dense_add_norm(
    x: Tensor, residual: Tensor, weight: Tensor, bias: Tensor, gamma: Tensor, beta: Tensor, eps: float, rate: float
) -> Tensor:
    """``F.layer_norm(dropout(F.linear(x, weight, bias), rate) + residual, [n], gamma, beta, eps)``.

    Args:
        x: [t, k].
        residual: [t, n].
        weight: [n, k].
        bias, gamma, beta: [n].
        eps: of the layer norm.
        rate: of dropout, as `embedkit.model.changing.dropout` draws it; below 1.

    Returns:
        [t, n].
    """
    return _DenseAddNorm.apply(x, residual, weight, bias, gamma, beta, eps, rate)


class _SelfAttention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, runs: Runs, seen: Sequence[Seen], heads: int, scale: float, rate: float, *linears: Tensor
    ) -> Tensor:
        weight, bias = torch.cat(linears[:3]), torch.cat(linears[3:])
        qkv = products.linear(x, weight, bias).view(len(x), 3, heads, -1)
        out, kept = attend([qkv], runs, scale, rate, seen)
        keep(ctx, kept, x, weight)
        ctx.runs, ctx.scale, ctx.heads = runs, scale, heads
        return out.flatten(1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        kept, (x, weight) = kept_by(ctx)
        gradient = gradients[0].view(len(x), 1, ctx.heads, -1)
        dqkv = gradient.new_empty(len(x), 3, *gradient.shape[2:])
        pull_back(gradient, [dqkv], ctx.runs, ctx.scale, kept)
        needed = ctx.needs_input_grad
        some = [needed[0], any(needed[6:9]), any(needed[9:])]
        dx, dweight, dbias = _linear_backward(some, dqkv.flatten(1), x, weight)
        parts = [(None,) * 3 if d is None else d.chunk(3) for d in (dweight, dbias)]
        return dx, None, None, None, None, None, *parts[0], *parts[1]


def self_attention(
    x: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    runs: Runs,
    seen: Sequence[Seen],
    *,
    heads: int,
    scale: float,
    rate: float,
) -> Tensor:
    """Queries, keys and values of packed rows in one matrix product, then attention within each row.

    With dropout by `embedkit.model.running.attention.attend`. Without, by torch, and without a gradient.

    Args:
        x: [t, k].
        weights: of query, key and value, [heads * d, k] each.
        biases: [heads * d] each.
        runs: how the t tokens divide into rows.
        seen: per run, what its tokens see of their row.
        heads: attention heads.
        scale: factor of q k^T.
        rate: dropout rate of the probabilities, below 1.

    Returns:
        [t, heads * d].
    """
    if rate:
        return _SelfAttention.apply(x, runs, seen, heads, scale, rate, *weights, *biases)
    with torch.no_grad():
        qkv = products.joint_linear(x, weights, biases).view(len(x), 3, heads, -1)
        query, key, value = qkv.unbind(1)
        return attention_by_torch(query, key, value, runs, scale, 0.0, seen).flatten(1)


def _linear_backward(
    needed: Sequence[bool], gradient: Tensor, x: Tensor, weight: Tensor
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Gradients of x, weight and bias in x W^T + b, where needed."""
    return (
        products.input_gradient(gradient, weight) if needed[0] else None,
        products.weight_gradient(gradient, x) if needed[1] else None,
        gradient.sum(0) if needed[2] else None,
    )
