"""Masked next-token prediction: a causal language model learns to read in both directions (LLM2Vec)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from embedkit.auxiliary.mlm import MaskedLM
from embedkit.errors import RecipeError
from embedkit.model.changing.bidirectional import is_bidirectional

if TYPE_CHECKING:
    from embedkit.model.running.encoder import Encoder


class MaskedNextToken(MaskedLM):
    """Masked tokens are told from the state before them, by the language model's own head.

    L = sum over the masked places i of -log p(token_i | state_{i-1}) / their number (MNTP, LLM2Vec, arXiv 2404.05961):
    a causal model learned to say the next token, and keeps saying it there when its mask is off. The first token of a
    text has no state before it and is not masked. With an objective beside it both are trained at once; LLM2Vec trains
    this alone, before the contrast. The head stays behind.

    Args:
        weight, rate, views: as in `MaskedLM`.
        mask: text of the token that stands for a mask; None: the tokenizer's mask token, if it has one.
        encoder: a causal model, made bidirectional.
        seed: of the masks and of a new head.

    Raises:
        RecipeError: the model is not a causal one made bidirectional, or has no such token.
    """

    name = "mntp"
    causal = True

    def __init__(
        self,
        weight: float = 1.0,
        rate: float = 0.2,
        views: Literal["all", "first"] = "all",
        mask: str | None = "_",
        *,
        encoder: Encoder,
        seed: int,
    ) -> None:
        if not is_bidirectional(encoder.st):
            what = "mntp teaches a causal language model to read in both directions, and this model is not one"
            raise RecipeError(what, "auxiliary.mntp", "set model.bidirectional: true, or use mlm for an encoder")
        super().__init__(weight, rate, views, mask=mask, encoder=encoder, seed=seed)

    def export(self, folder: Path) -> None:
        """Nothing: the result is an encoder, and its weights hold a tied head already."""

    def _mask(
        self, ids: list[list[int]], draws: Iterable[np.random.Generator]
    ) -> tuple[list[list[int]], list[list[int]]]:
        masked, targets = super()._mask(ids, draws)
        kept = [[*row[:1], *changed[1:]] for row, changed in zip(ids, masked, strict=True)]
        return kept, [[*told[1:], 0] for told in targets]
