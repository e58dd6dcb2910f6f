"""Rows of different length laid end to end: no padding in any layer.

The rows of a micro-batch form one sequence [1, t]; the token-wise layers see exactly the real tokens, and only
attention looks at rows, under the mask that the model's layers ask for (`embedkit.model.running.masks`). On a CPU each
run of equally long rows is one ordinary batched attention; rows that come sorted by length make few runs. On a GPU one
kernel takes rows of any length (`embedkit.model.running.kernels`).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from embedkit.foreign import showing
from embedkit.model.reading import static, structure, tokens
from embedkit.model.reading.devices import send
from embedkit.model.reading.probing import evaluating
from embedkit.model.running import kernels
from embedkit.model.running.attention import attention_by_torch, attention_with_dropout
from embedkit.model.running.fused import layers as fused
from embedkit.model.running.masks import OWN_LOGITS, RowMask, row_mask, seen_by, window_of

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.model import BaseModel

logger = showing.logger(__name__)

ATTENTION = "embedkit_packed"
DEVICES = ("cpu", "cuda")
"""Where rows are packed."""
ROUTING = ("cu_seq_lens_q", "packed_runs")
"""Features of packed rows that a backbone hands on to its attention."""
PROBE = ("a", "a b a b a", "b a")
TOLERANCE = 1e-4
"""Largest relative difference between packed and padded states at which a model counts as packable."""
HALF_TOLERANCE = 0.1
"""The same between packed states in bf16 and padded ones in float32."""
REAL = "real"


def enable(st: SentenceTransformer) -> bool:
    """Make the model able to take packed rows, if it can; padded input works as before.

    Returns:
        Whether `pack` may be used: the model runs on a CPU or CUDA with `sdpa` attention, takes explicit positions, has
        no soft prompts, its pooling keeps prompts, and a trial gives the states that padded input gives.
    """
    if st.device.type not in DEVICES or static.is_static(st):
        return False
    backbone = st[0].auto_model
    reason = obstacle(backbone)
    if hasattr(st[0], "soft_prompts"):
        reason = "soft prompts stand before every row"
    elif hasattr(st[0], "rationale"):
        reason = "a rationale is written behind every row"
    elif tokens.excludes_prompt(st):
        reason = "its pooling leaves prompts out"
    elif getattr(st[0], "module_output_name", None) != "token_embeddings":
        reason = "its embedding is not pooled from tokens"
    if reason is None:
        with evaluating(st), torch.no_grad():
            reason = _trial(st, backbone)
    if reason is not None:
        logger.info("%s is padded: %s", type(backbone).__name__, reason)
    return reason is None


def enable_beside(backbone: Any, st: SentenceTransformer) -> bool:
    """Make another backbone take the rows that `pack` lays out for `st`, as `enable` does for `st` itself.

    Args:
        backbone: with the vocabulary of `st`, on its device; which of the rows' features it takes, its signature says.
        st: a model for which `enable` returned True.
    """
    if obstacle(backbone) is not None:
        return False
    before = backbone.config._attn_implementation
    ids, extra = tokens.tokenize(st, PROBE, "")
    with evaluating(backbone), torch.no_grad():
        padded = backbone(**accepted(backbone, tokens.pad(st, ids, extra, st.device)))[0]
        backbone.set_attn_implementation(ATTENTION)
        fused.fuse(backbone)
        packed = backbone(**accepted(backbone, pack(st, ids, extra)))[0][0]
    if _apart(packed, torch.cat([padded[i, : len(row)] for i, row in enumerate(ids)])) < TOLERANCE:
        return True
    fused.unfuse(backbone)
    backbone.set_attn_implementation(before)
    return False


def accepted(backbone: nn.Module, features: dict[str, Any]) -> dict[str, Any]:
    """The features that a backbone's forward names, and those that its attention needs."""
    names = inspect.signature(backbone.forward).parameters
    return {name: value for name, value in features.items() if name in names or name in ROUTING}


def use_sparse_token_gradients(backbone: Any) -> None:
    """Let the token table have a sparse gradient, on a CPU: a dense one is the whole vocabulary, zeroed and added again
    for every micro-batch. For the step engine only, whose `Step.finish` makes it dense once per update."""
    table: Any = backbone.get_input_embeddings()
    if isinstance(table, nn.Embedding) and table.max_norm is None and table.weight.device.type == "cpu":
        table.sparse = True


def obstacle(backbone: nn.Module) -> str | None:
    """Why a backbone cannot even be tried, or None."""
    _register()
    parameters = inspect.signature(backbone.forward).parameters
    attention = getattr(getattr(backbone, "config", None), "_attn_implementation", None)
    if attention != "sdpa":
        return f"its attention is {attention}, and packed rows need sdpa"
    if not getattr(backbone, "_supports_attention_backend", False):
        return "its attention cannot be exchanged"
    if "position_ids" not in parameters:
        return "it takes no position ids"
    if not any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
        return "it hands nothing on to its attention"
    device = next(backbone.parameters()).device
    return kernels.obstacle(device) if device.type == "cuda" else None


def _register() -> None:
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(ATTENTION, packed_attention)
    AttentionMaskInterface.register(ATTENTION, row_mask)


def _trial(st: SentenceTransformer, backbone: Any) -> str | None:
    """Encode three unequal rows padded as before, then packed and padded with our attention, which stays if all agree.

    The pieces of the layers are fused first (`embedkit.model.running.fused`), and only where that disagrees, not.

    Returns:
        What went wrong, or None.
    """
    ids, extra = tokens.tokenize(st, PROBE, "")
    real = tokens.pad(st, ids, {**extra, REAL: [[1] * len(row) for row in ids]}, st.device)
    mask = real.pop(REAL).bool()

    def padded() -> tuple[Tensor, Tensor]:
        out = st(dict(real))
        return out["token_embeddings"][mask], out["sentence_embedding"]

    def difference() -> float:
        out = st(pack(st, ids, extra))
        found = [(out["token_embeddings"][0], out["sentence_embedding"]), padded()]
        return max(_apart(a, b) for pair in found for a, b in zip(pair, expected, strict=True))

    before = backbone.config._attn_implementation
    expected = padded()
    backbone.set_attn_implementation(ATTENTION)
    reason = agree(difference) if fused.fuse(backbone) else "nothing is fused"
    if reason is not None:
        logger.info("%s runs without fused layers: %s", type(backbone).__name__, reason)
        fused.unfuse(backbone)
        reason = agree(difference) or agree_in_half(st.device, difference)
    if reason is not None:
        backbone.set_attn_implementation(before)
    return reason


def agree(difference: Callable[[], float], tolerance: float = TOLERANCE) -> str | None:
    """Why packed rows are not taken, or None."""
    try:
        found = difference()
    except Exception as error:  # a model's own code met input that it was not written for
        return f"packed rows fail with {type(error).__name__}: {error}"
    return None if found < tolerance else f"packed states differ by {found:.1e}"


def agree_in_half(device: torch.device, difference: Callable[[], float]) -> str | None:
    """`agree` once more in bf16, which has a kernel of its own on a GPU."""
    if device.type != "cuda":
        return None
    with torch.autocast(device.type, torch.bfloat16):
        return agree(difference, HALF_TOLERANCE)


def _apart(found: Tensor, expected: Tensor) -> float:
    """Largest relative distance of a row of `found` [n, d] from that of `expected`."""
    if found.shape != expected.shape:
        return float("inf")
    distance = (found - expected).norm(dim=-1) / expected.norm(dim=-1).clamp(min=1e-12)
    return float(distance.nan_to_num(nan=float("inf")).max())


def pack(st: BaseModel, input_ids: Sequence[Sequence[int]], extra: dict[str, list[Any]]) -> dict[str, Any]:
    """Rows end to end, as `sentence_transformers` lays out unpadded input for flash attention.

    Args:
        st: a model for which `enable` returned True.
        input_ids: r rows; rows of equal length should be neighbours.
        extra: other per-token values, as `embedkit.model.reading.tokens.tokenize` returns them.

    Returns:
        ``input_ids``, ``attention_mask``, ``position_ids`` and the others [1, t], ``cu_seq_lens_q`` int32 [r + 1]
        where rows begin and end, ``seq_idx`` [1, t] the row of each token (a pooling that had to ask for it would wait
        for a GPU), ``packed_runs``: (rows, length) of each run of equally long rows.
    """
    lengths = np.fromiter((len(ids) for ids in input_ids), np.int64, len(input_ids))
    ends = np.cumsum(lengths)
    starts = ends - lengths
    position = np.arange(ends[-1]) - np.repeat(starts, lengths) + structure.first_position(st)
    cuts = [0, *(np.flatnonzero(np.diff(lengths)) + 1).tolist(), len(lengths)]

    def flat(rows: Sequence[Sequence[int]]) -> Tensor:
        return send(np.concatenate([np.asarray(row, np.int64) for row in rows])[None], st.device)

    ids = flat(input_ids)
    return {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),  # else transformers looks for the rows itself, in the positions
        "position_ids": send(position[None], st.device),
        **{name: flat(rows) for name, rows in extra.items()},
        "cu_seq_lens_q": send(np.concatenate([[0], ends]).astype(np.int32), st.device),  # the type that kernels take
        "seq_idx": send(np.repeat(np.arange(len(lengths)), lengths)[None], st.device),
        "packed_runs": [(b - a, int(lengths[a])) for a, b in pairwise(cuts)],
    }


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: RowMask | Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    packed_runs: Sequence[tuple[int, int]] | None = None,
    cu_seq_lens_q: Tensor | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attention function for transformers: row by row over packed input, `sdpa` over padded input.

    Args:
        module: the attention layer.
        query: [1, heads, t, d] packed, or [b, heads, t, d] padded.
        key, value: the same, or with fewer heads, each shared by a group of the query's.
        attention_mask: what a token sees.
        scaling: factor of the logits; None is 1 / sqrt(d).
        dropout: rate on the attention probabilities.
        packed_runs, cu_seq_lens_q: see `pack`; None for padded input.

    Returns:
        States [1, t, heads, d] (or [b, t, heads, d]) and None for the probabilities.

    Raises:
        ValueError: packed rows in a layer that biases or masks its logits in a way of its own.
    """
    if packed_runs is None:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        mask = attention_mask.padded if isinstance(attention_mask, RowMask) else attention_mask
        return sdpa_attention_forward(module, query, key, value, mask, dropout=dropout, scaling=scaling, **kwargs)
    own = [name for name in OWN_LOGITS if kwargs.get(name) is not None]
    if own or isinstance(attention_mask, Tensor):
        raise ValueError(f"attention with {own[0] if own else 'a mask of its own'} needs padded rows")
    q, k, v = (states[0].transpose(0, 1) for states in (query, key, value))
    if q.shape[1] != k.shape[1]:
        k, v = (states.repeat_interleave(q.shape[1] // k.shape[1], dim=1) for states in (k, v))
    asked = (module, attention_mask, packed_runs, kwargs.get("is_causal"))
    if query.is_cuda:
        assert cu_seq_lens_q is not None
        rows, near = kernels.Rows(packed_runs, cu_seq_lens_q), window_of(*asked)
        return kernels.attention_by_kernels(q, k, v, rows, scaling, dropout, near, lambda: seen_by(*asked))[None], None
    seen = seen_by(*asked)
    if dropout:
        scale = query.shape[-1] ** -0.5 if scaling is None else scaling
        return attention_with_dropout(q, k, v, packed_runs, scale, dropout, seen)[None], None
    return attention_by_torch(q, k, v, packed_runs, scaling, 0.0, seen)[None], None
