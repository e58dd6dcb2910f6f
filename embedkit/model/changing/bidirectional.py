"""Causal language models that attend in both directions (LLM2Vec, arXiv 2404.05961; KaLM; GritLM's embedding side).

transformers (5.2 and later) reads `is_causal: false` from a model's config and then masks padding only. The key is
saved with the model, so plain `SentenceTransformer(path)` attends in both directions too. Not every architecture
reads it: whether this one does is tried out, with the attention implementation it was loaded with.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from embedkit.errors import RecipeError
from embedkit.model.reading import probing

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

TOLERANCE = 1e-5
"""Relative change of a state below which a token counts as unseen."""


def make_bidirectional(st: SentenceTransformer) -> None:
    """Let every token attend to the whole text, and save it so.

    Raises:
        RecipeError: the model attends in both directions already, or cannot be made to.
    """
    backbone: Any = st[0].auto_model
    name = type(backbone).__name__
    configs = {id(c): c for c in (backbone.config, backbone.config.get_text_config())}.values()
    if is_bidirectional(st):
        return
    if sees_later_tokens(backbone):
        raise RecipeError(
            f"{name} attends in both directions already", "model.bidirectional", "leave model.bidirectional out"
        )
    before = [(config, vars(config).get("is_causal")) for config in configs]
    for config in configs:
        config.is_causal = False
    if not sees_later_tokens(backbone) or not _ignores_padding(backbone):
        for config, value in before:
            if value is None:
                del config.is_causal
            else:
                config.is_causal = value
        raise RecipeError(
            f"{name} cannot be made bidirectional: transformers does not read is_causal for it",
            "model.bidirectional",
            "use a LLaMA, Mistral, Qwen, Gemma, Phi, OPT or GPT-2 model, or leave model.bidirectional out",
        )


def is_bidirectional(st: SentenceTransformer) -> bool:
    """Whether the model's causal mask is switched off."""
    return getattr(st[0].auto_model.config, "is_causal", None) is False


def sees_later_tokens(backbone: nn.Module) -> bool:
    """Whether the first token's state depends on the last token, in rows with padding and without."""
    ids = probing.trial_ids(backbone, 6).expand(2, -1).clone()
    other = ids.clone()
    other[:, -1] += 1
    padded = torch.ones_like(ids)
    padded[1, :2] = 0  # the second row alone, so that a mask has to be made and the first one sees all
    return all(
        probing.difference(probing.states(backbone, ids, mask)[0, 0], probing.states(backbone, other, mask)[0, 0])
        > TOLERANCE
        for mask in (None, padded)
    )


def _ignores_padding(backbone: nn.Module) -> bool:
    """Whether a row gives the same states with padding after it."""
    ids = probing.trial_ids(backbone, 6)
    mask = torch.ones_like(ids)
    mask[:, -2:] = 0
    padded, alone = probing.states(backbone, ids, mask)[:, :-2], probing.states(backbone, ids[:, :-2])
    return probing.agree(backbone, padded, alone)
