"""Attention that also sees keys and values from outside the text, for backbones that look their attention up.

transformers' `AttentionInterface` is the documented place where a backbone asks for its attention; what is registered
here puts given keys and values before the layer's own and leaves the rest to `sdpa`, or to the plain formula where
`eager` was asked for. Without prompts both are ordinary attention. Cache objects, the other way in, are refused by
encoders, and the argument that takes them changes its name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from embedkit.errors import EmbedkitError

ARGUMENT = "layer_prompts"
"""Keyword by which a backbone's forward hands the prompts on to its attention."""
BEYOND = ("softcap", "s_aux", "position_bias")
"""Arguments of transformers' attention functions that change the plain formula."""


class LayerPrompts:
    """Keys and values before those of each layer, for one forward pass.

    Args:
        states: [layers, 2, rows, key-value heads, P, head size]: per layer K, then V.

    Attributes:
        seen: numbers of the layers that have taken theirs.
    """

    def __init__(self, states: Tensor) -> None:
        self.states = states
        self.seen: set[int] = set()

    def before(self, module: Any, key: Tensor, value: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """``[K_l, key]``, ``[V_l, value]`` and a mask by which every token sees all of K_l.

        Args:
            module: the attention layer; its `layer_idx` is l.
            key, value: [rows, key-value heads, t, head size].
            mask: [rows or 1, 1, t, t], True where a token (third axis) sees a key.

        Raises:
            EmbedkitError: the layer is not numbered, or its keys and values have another shape.
        """
        layer = getattr(module, "layer_idx", None)
        if layer is None or not 0 <= layer < len(self.states):
            what = (
                f"soft prompts need numbered layers of attention, and {type(module).__name__} does not know its number"
            )
            raise EmbedkitError(what, "model.soft_prompts")
        keys, values = self.states[layer].to(key)
        for ours, own in ((keys, key), (values, value)):
            if (ours.shape[1], ours.shape[3]) != (own.shape[1], own.shape[3]):
                heads = f"{own.shape[1]} heads of {own.shape[3]}, not the {ours.shape[1]} of {ours.shape[3]}"
                what = f"soft prompts do not fit {type(module).__name__}: it has {heads} of its config"
                raise EmbedkitError(what, "model.soft_prompts")
        self.seen.add(layer)
        return torch.cat([keys, key], 2), torch.cat([values, value], 2), F.pad(mask, (keys.shape[2], 0), value=True)


def sdpa_with_prompts(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor,
    layer_prompts: LayerPrompts | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """transformers' `sdpa` attention after the layer's prompts; states [rows, t, heads, d]."""
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    if layer_prompts is not None:
        key, value, attention_mask = layer_prompts.before(module, key, value, attention_mask)
    found: tuple[Tensor, None] = sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    return found


def eager_with_prompts(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor,
    scaling: float | None = None,
    dropout: float = 0.0,
    layer_prompts: LayerPrompts | None = None,
    **kwargs: Any,
) -> tuple[Tensor, Tensor]:
    """softmax(q k^T * scaling) v after the layer's prompts; states [rows, t, heads, d], and the probabilities.

    Raises:
        EmbedkitError: the layer's own formula has more to it.
    """
    if more := [name for name in BEYOND if kwargs.get(name) is not None]:
        raise EmbedkitError(f"soft prompts do not know the {more[0]} of {type(module).__name__}", "model.soft_prompts")
    if layer_prompts is not None:
        key, value, attention_mask = layer_prompts.before(module, key, value, attention_mask)
    key, value = (states.repeat_interleave(query.shape[1] // states.shape[1], 1) for states in (key, value))
    logits = query @ key.mT * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    logits = logits.masked_fill(~attention_mask, torch.finfo(logits.dtype).min)
    probabilities = F.dropout(logits.softmax(-1, dtype=torch.float32).to(query.dtype), dropout)
    return (probabilities @ value).transpose(1, 2).contiguous(), probabilities


def whole_mask(*args: Any, **kwargs: Any) -> Tensor:
    """transformers' mask [rows or 1, 1, t, t], never left out: an absent one says nothing about the prompts."""
    from transformers.masking_utils import sdpa_mask

    whole = {"allow_is_causal_skip": False, "allow_is_bidirectional_skip": False}
    mask: Tensor = sdpa_mask(*args, **{**kwargs, **whole})
    return mask


FUNCTIONS: dict[str, Callable[..., Any]] = {"sdpa": sdpa_with_prompts, "eager": eager_with_prompts}
"""By the attention that a model was loaded with."""


def take_prompts(backbone: Any) -> bool:
    """Switch a backbone to the attention of this module; False where it has one that is not here."""
    from transformers import AttentionInterface, AttentionMaskInterface

    names = {kind: f"embedkit_prompts_{kind}" for kind in FUNCTIONS}
    have = backbone.config._attn_implementation
    if have in names.values():
        return True
    if have not in names:
        return False
    for kind, name in names.items():
        AttentionInterface.register(name, FUNCTIONS[kind])
        AttentionMaskInterface.register(name, whole_mask)
    backbone.set_attn_implementation(names[have])
    return True
