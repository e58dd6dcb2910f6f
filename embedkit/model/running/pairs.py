"""Pairs of a reranker laid end to end, as `embedkit.model.running.packing` lays texts.

A reranker reads one token of every row: the first where it is a classifier, the last where it is a causal language
model that answers. Behind the backbone of a packed micro-batch only these states are left, [r, 1, h], as if every row
had one token; what follows (pooler, classifier, language head) takes them as it takes padded rows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from embedkit.foreign import showing
from embedkit.model.changing import question
from embedkit.model.reading import tokens
from embedkit.model.reading.probing import evaluating
from embedkit.model.running import packing
from embedkit.model.running.fused import layers as fused

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

logger = showing.logger(__name__)

SMALL = 0.05
"""Scores of a new head may be no larger: what they differ by is then a share of this."""
PROBE = [["a", "b a"], ["a b a b a", "b"], ["b a", "a a b b a b"]]


def enable(model: CrossEncoder) -> bool:
    """Make the model able to take packed pairs, if it can; padded input works as before.

    Returns:
        Whether `packing.pack` may be used: on a CPU or CUDA, with `sdpa` attention and explicit positions, where a
        trial gives the scores that padded input gives.
    """
    if model.device.type not in packing.DEVICES:
        return False
    whole: Any = model[0].auto_model
    backbone = whole.base_model
    reason = packing.obstacle(backbone)
    if backbone is whole:
        reason = "its head cannot be told from its backbone"
    if reason is None:
        with evaluating(model), torch.no_grad():
            reason = _trial(model, backbone)
    if reason is not None:
        logger.info("pairs of %s are padded: %s", type(whole).__name__, reason)
    return reason is None


def _trial(model: CrossEncoder, backbone: Any) -> str | None:
    """Score three unequal pairs padded as before, then packed and padded with our attention, which stays if all agree.

    Returns:
        What went wrong, or None.
    """
    last = question.is_asked(model)
    ids, extra = tokens.tokenize(model, PROBE, "")
    keep = {"logits_to_keep": 1} if last else {}
    padded = tokens.pad(model, ids, extra, model.device) | keep
    expected = model(dict(padded))["scores"]
    before = backbone.config._attn_implementation
    hook = backbone.register_forward_hook(_read_last if last else _read_first, with_kwargs=True)

    def difference() -> float:
        found = [model(features)["scores"] for features in (packing.pack(model, ids, extra) | keep, dict(padded))]
        if any(scores.shape != expected.shape for scores in found):
            return float("inf")
        apart = max(float((scores - expected).abs().max()) for scores in found)
        return apart / max(SMALL, float(expected.abs().max()))

    backbone.set_attn_implementation(packing.ATTENTION)
    reason = packing.agree(difference) if fused.fuse(backbone) else "nothing is fused"
    if reason is not None:
        logger.info("%s runs without fused layers: %s", type(backbone).__name__, reason)
        fused.unfuse(backbone)
        reason = packing.agree(difference) or packing.agree_in_half(model.device, difference)
    if reason is not None:
        hook.remove()
        backbone.set_attn_implementation(before)
    return reason


Ends = Callable[[Tensor], Tensor]


def _read_first(backbone: Any, args: Any, features: dict[str, Any], output: Any) -> Any:
    return _read(backbone, features, output, lambda ends: ends[:-1])


def _read_last(backbone: Any, args: Any, features: dict[str, Any], output: Any) -> Any:
    return _read(backbone, features, output, lambda ends: ends[1:] - 1)


def _read(backbone: Any, features: dict[str, Any], output: Any, chosen: Ends) -> Any:
    """The backbone's output of packed rows with one token for each: that which the head reads; else as it is."""
    if features.get("packed_runs") is None:
        return output
    states, ends = output.last_hidden_state[0], features["cu_seq_lens_q"]
    if len(states) >= len(ends):  # else `embedkit.model.running.first_tokens` left the others out
        states = states[chosen(ends)]
    states = states[:, None]
    output.last_hidden_state = states
    if getattr(backbone, "pooler", None) is not None:
        output.pooler_output = backbone.pooler(states)
    return output
