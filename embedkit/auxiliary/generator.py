"""A frozen masked language model that proposes tokens for masked places (DiffCSE's generator)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from embedkit.auxiliary.language_head import load_language_head
from embedkit.errors import RecipeError, about
from embedkit.model.changing.dropout import use_cpu_dropout
from embedkit.model.reading import tokens
from embedkit.model.reading.loading import load_tokenizer
from embedkit.model.reading.resolve import Origin, resolve
from embedkit.model.reading.structure import position_rows
from embedkit.model.running import packing

if TYPE_CHECKING:
    from embedkit.model.running.encoder import Encoder


UNLIMITED = 10**6
"""Tokenizers without a limit say numbers beyond this."""
LOGITS_BYTES = 128 * 2**20
"""Logits over the vocabulary that are held at once."""


class Generator:
    """Masked-LM proposals, without gradient; it never trains and is in no checkpoint.

    Not a module on purpose: whoever holds it must not own its parameters.

    Args:
        base: folder or Hub id of a masked language model with the encoder's vocabulary.
        encoder: the encoder of the run; lays out rows, on the CPU without padding where both models can.
        train_mode: keep its dropout on (DiffCSE's code does).
        where: key of the recipe, for errors.

    Raises:
        RecipeError: not found, no masked-LM head in it, or another vocabulary.
    """

    def __init__(self, base: str, encoder: Encoder, *, train_mode: bool = False, where: str = "auxiliary") -> None:
        with about(where, "model.base"):
            origin = resolve(base)
        self.head = load_language_head(origin, where=where)
        self.backbone: Any = self.head.take_backbone()
        if self.head.new:
            raise RecipeError(
                f"{origin} has no masked-LM head, so it cannot propose tokens",
                where,
                "give a masked language model, e.g. distilbert/distilbert-base-uncased or the result of pretrain/mlm",
            )
        _check_vocabulary(origin, encoder, where)
        for module in (self.head, self.backbone):
            module.to(encoder.device).requires_grad_(False).train(train_mode)
            if encoder.device.type == "cpu":
                use_cpu_dropout(module)
        self._encoder = encoder
        self.longest = position_rows(self.backbone)
        _check_length(encoder, self.longest, where)
        self.packs = encoder.module.packs and packing.enable_beside(self.backbone, encoder.st)
        self.where = where

    @torch.no_grad()
    def propose(
        self,
        ids: Sequence[Sequence[int]],
        extra: dict[str, list[Any]],
        wanted: Sequence[Sequence[bool]],
        draws: Sequence[np.random.Generator] | None = None,
    ) -> Tensor:
        """A token for each of the m wanted places, row by row: [m].

        Args:
            ids: masked rows, unpadded.
            extra: other per-token values of the rows.
            wanted: per row and token, whether one is wanted.
            draws: None takes the most probable token; else one random generator per row, and tokens are drawn from
                the predicted distribution.

        Raises:
            RecipeError: a row is longer than the generator's positions.
        """
        if self.longest is not None and max(map(len, ids)) > self.longest:
            raise RecipeError(
                f"a row has {max(map(len, ids))} tokens and the generator takes {self.longest}",
                self.where,
                f"set model.max_length to {self.longest} or less, or choose another generator",
            )
        st = self._encoder.st
        features = (packing.pack if self.packs else _padded)(st, ids, extra | {"wanted": list(wanted)})
        places = features.pop("wanted").flatten() > 0
        states = self.backbone(**packing.accepted(self.backbone, features))[0].flatten(0, 1)[places]
        at_once = max(1, LOGITS_BYTES // (4 * self.backbone.config.vocab_size))
        parts = states.split(at_once)
        if draws is None:
            return torch.cat([pick(self.head(part)) for part in parts])
        each = zip(draws, wanted, strict=True)
        level = torch.from_numpy(np.concatenate([rng.random(sum(w)) for rng, w in each])).to(states.device)
        return torch.cat([pick(self.head(part), own) for part, own in zip(parts, level.split(at_once), strict=True)])


def pick(logits: Tensor, level: Tensor | None = None) -> Tensor:
    """A token per row of logits [m, V].

    Args:
        logits: unnormalised.
        level: None takes the largest logit. Else [m] uniform numbers in [0, 1): the token at which the cumulative
            probability passes the number, which is a draw from the softmax.
    """
    if level is None:
        return logits.argmax(-1)
    reached = logits.double().softmax(-1).cumsum(-1)
    return (reached <= level[:, None].double() * reached[:, -1:]).sum(-1).clamp(max=logits.shape[-1] - 1)


def _padded(st: Any, ids: Sequence[Sequence[int]], extra: dict[str, list[Any]]) -> dict[str, Tensor]:
    return tokens.pad(st, ids, extra, st.device)


def _check_length(encoder: Encoder, longest: int | None, where: str) -> None:
    """Refuse rows that may be longer than the generator before any is made."""
    kept = encoder.st.max_seq_length
    if longest is not None and (kept is None or kept > longest):
        kept_words = "texts of any length" if kept is None or kept > UNLIMITED else f"{kept} tokens of a text"
        raise RecipeError(
            f"the encoder keeps {kept_words}, and the generator takes {longest}",
            where,
            f"set model.max_length to {longest} or less, or choose another generator",
        )


def _check_vocabulary(origin: Origin, encoder: Encoder, where: str) -> None:
    with about(where, "model.base"):
        theirs = load_tokenizer(origin).get_vocab()
    ours = encoder.st.tokenizer.get_vocab()
    if theirs != ours:
        shared = len(theirs.items() & ours.items())
        raise RecipeError(
            f"the generator {origin.target} has another vocabulary than the encoder: "
            f"{len(theirs)} and {len(ours)} tokens, {shared} of them the same",
            where,
            "choose a masked language model with the encoder's tokenizer (distilbert-base-uncased for BERT uncased, "
            "distilroberta-base for RoBERTa), or train one with pretrain/mlm",
        )


def embedding_layer(backbone: nn.Module, where: str) -> nn.Module:
    """The module whose output enters the first layer.

    Raises:
        RecipeError: the architecture has none of that name.
    """
    layer = getattr(backbone, "embeddings", None)
    if not isinstance(layer, nn.Module):
        raise RecipeError(
            f"{type(backbone).__name__} has no embedding layer (`embeddings`) that could be told the sentence",
            where,
            "use a BERT-like encoder",
        )
    return layer
