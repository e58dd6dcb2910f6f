"""Rows of different length laid end to end: no padding in any layer, on the CPU.

Padding costs a CPU in proportion, because there is no idle hardware to hide it. Here the rows of a micro-batch
form one sequence [1, t]; the token-wise layers see exactly the real tokens, and only attention looks at rows:
each run of equally long rows is one ordinary batched attention. Rows that come sorted by length make few runs.
On a GPU padded batches and flash attention's own unpadding are faster; packing is off there.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from embedkit.model.reading import structure, tokens
from embedkit.model.running.attention import attention_with_dropout

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

logger = logging.getLogger(__name__)

ATTENTION = "embedkit_packed"
ROUTING = ("cu_seq_lens_q", "packed_runs")
"""Features of packed rows that a backbone hands on to its attention."""
PROBE = ("a", "a b a b a", "b a")
TOLERANCE = 1e-4
"""Largest relative difference between packed and padded states at which a model counts as packable."""


def enable(st: SentenceTransformer) -> bool:
    """Make the model able to take packed rows, if it can; padded input works as before.

    Returns:
        Whether `pack` may be used: the model runs on the CPU with `sdpa` attention, takes explicit positions,
        attends over the whole row in both directions, has no soft prompts, its pooling keeps prompts, and a trial
        gives the states that padded input gives.
    """
    backbone = st[0].auto_model
    prompted = hasattr(st[0], "soft_prompts")
    if st.device.type != "cpu" or tokens.excludes_prompt(st) or prompted or not _suited(backbone):
        return False
    _register()
    before = backbone.config._attn_implementation
    backbone.set_attn_implementation(ATTENTION)
    difference = _trial(st)
    if difference < TOLERANCE:
        return True
    logger.info("%s is padded: packed states differ by %.1e", type(backbone).__name__, difference)
    backbone.set_attn_implementation(before)
    return False


def enable_beside(backbone: Any, st: SentenceTransformer) -> bool:
    """Make another backbone take the rows that `pack` lays out for `st`, as `enable` does for `st` itself.

    Args:
        backbone: on the CPU, with the vocabulary of `st`; which of the rows' features it takes, its signature says.
        st: a model for which `enable` returned True.
    """
    if not _suited(backbone):
        return False
    before = backbone.config._attn_implementation
    backbone.set_attn_implementation(ATTENTION)
    ids, extra = tokens.tokenize(st, PROBE, "")
    training = backbone.training
    backbone.eval()
    with torch.no_grad():
        packed = backbone(**accepted(backbone, pack(st, ids, extra)))[0][0]
        padded = backbone(**accepted(backbone, tokens.pad(st, ids, extra, st.device)))[0]
    backbone.train(training)
    lengths = [len(row) for row in ids]
    real = torch.cat([padded[i, :n] for i, n in enumerate(lengths)])
    if float((packed - real).abs().max() / real.abs().max().clamp(min=1e-12)) < TOLERANCE:
        return True
    backbone.set_attn_implementation(before)
    return False


def accepted(backbone: nn.Module, features: dict[str, Any]) -> dict[str, Any]:
    """The features that a backbone's forward names, and those that its attention needs."""
    names = inspect.signature(backbone.forward).parameters
    return {name: value for name, value in features.items() if name in names or name in ROUTING}


def use_sparse_token_gradients(backbone: Any) -> None:
    """Let the token table have a sparse gradient: a dense one is the whole vocabulary, zeroed and added again for
    every micro-batch. For the step engine only, whose `Step.finish` makes it dense once per update."""
    table: Any = backbone.get_input_embeddings()
    if isinstance(table, nn.Embedding) and table.max_norm is None:
        table.sparse = True


def _suited(backbone: nn.Module) -> bool:
    config: Any = getattr(backbone, "config", None)
    parameters = inspect.signature(backbone.forward).parameters
    return (
        getattr(config, "_attn_implementation", None) == "sdpa"
        and bool(getattr(backbone, "_supports_attention_backend", False))
        and "position_ids" in parameters
        and any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
        and not any(getattr(config, name, None) for name in ("sliding_window", "local_attention"))
        and not any(getattr(m, "is_causal", False) for m in backbone.modules())
        and all(getattr(m, "num_key_value_groups", 1) == 1 for m in backbone.modules())
    )


def _register() -> None:
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(ATTENTION, packed_attention)
    AttentionMaskInterface.register(ATTENTION, sdpa_mask)


def _trial(st: SentenceTransformer) -> float:
    """Relative difference of the embeddings of three unequal rows, packed against padded."""
    ids, extra = tokens.tokenize(st, PROBE, "")
    training = st.training
    st.eval()
    with torch.no_grad():
        packed = st(pack(st, ids, extra))["sentence_embedding"]
        padded = st(tokens.pad(st, ids, extra, st.device))["sentence_embedding"]
    st.train(training)
    return float((packed - padded).abs().max() / padded.abs().max().clamp(min=1e-12))


def pack(st: SentenceTransformer, input_ids: Sequence[Sequence[int]], extra: dict[str, list[Any]]) -> dict[str, Any]:
    """Rows end to end, as `sentence_transformers` lays out unpadded input for flash attention.

    Args:
        st: a model for which `enable` returned True.
        input_ids: r rows; rows of equal length should be neighbours.
        extra: other per-token values, as `embedkit.model.reading.tokens.tokenize` returns them.

    Returns:
        ``input_ids``, ``position_ids`` and the others [1, t], ``cu_seq_lens_q`` [r + 1] where rows begin and end,
        ``packed_runs``: (rows, length) of each run of equally long rows.
    """
    lengths = np.fromiter((len(ids) for ids in input_ids), np.int64, len(input_ids))
    ends = np.cumsum(lengths)
    starts = ends - lengths
    position = np.arange(ends[-1]) - np.repeat(starts, lengths) + structure.first_position(st)
    cuts = [0, *(np.flatnonzero(np.diff(lengths)) + 1).tolist(), len(lengths)]

    def flat(rows: Sequence[Sequence[int]]) -> Tensor:
        return torch.from_numpy(np.concatenate([np.asarray(row, np.int64) for row in rows]))[None]

    return {
        "input_ids": flat(input_ids),
        "position_ids": torch.from_numpy(position)[None],
        **{name: flat(rows) for name, rows in extra.items()},
        "cu_seq_lens_q": torch.from_numpy(np.concatenate([[0], ends])),
        "packed_runs": [(b - a, int(lengths[a])) for a, b in pairwise(cuts)],
    }


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    packed_runs: Sequence[tuple[int, int]] | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attention function for transformers: row by row over packed input, `sdpa` over padded input.

    Args:
        module: the attention layer.
        query, key, value: [1, heads, t, d] packed, or [b, heads, t, d] padded.
        attention_mask: of padded input.
        scaling: factor of the logits; None is 1 / sqrt(d).
        dropout: rate on the attention probabilities.
        packed_runs: see `pack`; None for padded input.

    Returns:
        States [1, t, heads, d] (or [b, t, heads, d]) and None for the probabilities.
    """
    if packed_runs is None:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
    q, k, v = (states[0].transpose(0, 1) for states in (query, key, value))
    if dropout:
        scale = query.shape[-1] ** -0.5 if scaling is None else scaling
        return attention_with_dropout(q, k, v, packed_runs, scale, dropout)[None], None
    sizes = [rows * length for rows, length in packed_runs]
    flat = (states.split(sizes) for states in (q, k, v))
    out = [_attend(q, k, v, run, scaling) for run, q, k, v in zip(packed_runs, *flat, strict=True)]
    return torch.cat(out)[None], None


def _attend(query: Tensor, key: Tensor, value: Tensor, run: tuple[int, int], scaling: float | None) -> Tensor:
    """Torch's fused attention within each row of a run of equal length, [rows * length, heads, d]."""
    query, key, value = (states.unflatten(0, run).transpose(1, 2) for states in (query, key, value))
    states = F.scaled_dot_product_attention(query, key, value, scale=scaling)
    return states.transpose(1, 2).flatten(0, 1)
