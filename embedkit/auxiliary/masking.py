"""Random masking of tokens, as masked language models are trained (BERT's 80 / 10 / 10 rule)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from embedkit.types import RowBatch

MASKED, RANDOM = 0.8, 0.1
"""Of the chosen tokens, this share becomes the mask token and this share a random token; the others stay."""


class Masker:
    """Chooses tokens independently with probability `rate`; special tokens are never chosen.

    Args:
        tokenizer: has a mask token; tells special tokens and the size of the vocabulary.
        rate: probability that a token is chosen.
        mask: text of one token that stands for a mask; None: the tokenizer's mask token.

    Raises:
        ValueError: the tokenizer has no mask token, or `mask` is not one token.
    """

    def __init__(self, tokenizer: Any, rate: float, mask: str | None = None) -> None:
        self.rate, self.mask_id, self.vocabulary = rate, _mask_id(tokenizer, mask), len(tokenizer)
        self.special = np.array(sorted(tokenizer.all_special_ids), dtype=np.int64)

    def __call__(
        self, rows: Sequence[Sequence[int]], draws: Iterable[np.random.Generator]
    ) -> tuple[list[list[int]], list[list[int]]]:
        """Mask rows, each with its own random generator.

        Args:
            rows: token ids per row, special tokens included.
            draws: one generator per row.

        Returns:
            The masked ids, and per token the original id + 1 where it was chosen, 0 elsewhere. (A target of 0 means
            "none", because that is what padding is filled with.)
        """
        pairs = [self._row(np.asarray(row, np.int64), rng) for row, rng in zip(rows, draws, strict=True)]
        return [ids for ids, _ in pairs], [targets for _, targets in pairs]

    def _row(self, ids: np.ndarray, rng: np.random.Generator) -> tuple[list[int], list[int]]:
        chosen = (rng.random(len(ids)) < self.rate) & ~np.isin(ids, self.special)
        kind = rng.random(len(ids))
        replaced = np.where(kind < MASKED, self.mask_id, rng.integers(self.vocabulary, size=len(ids)))
        change = chosen & (kind < MASKED + RANDOM)
        return np.where(change, replaced, ids).tolist(), np.where(chosen, ids + 1, 0).tolist()


def _mask_id(tokenizer: Any, mask: str | None) -> int:
    if mask is None:
        if tokenizer.mask_token_id is None:
            raise ValueError(f"{type(tokenizer).__name__} has no mask token")
        return int(tokenizer.mask_token_id)
    ids = tokenizer(mask, add_special_tokens=False)["input_ids"]
    if len(ids) != 1 or ids[0] == tokenizer.unk_token_id:
        raise ValueError(f"{mask!r} is not one token of {type(tokenizer).__name__}")
    return int(ids[0])


def row_draws(tag: int, seed: int, batch: RowBatch, rows: np.ndarray) -> list[np.random.Generator]:
    """One random generator per row, from (seed, step, place in the global batch) alone.

    The place does not depend on the number of processes, on micro-batches or on the order of rows.

    Args:
        tag: keeps the streams of different users apart.
        seed: of the run.
        batch: this process's share.
        rows: indices of rows of `batch`.
    """
    position = batch.position[rows]
    places = zip((batch.offset + position // batch.slots).tolist(), (position % batch.slots).tolist(), strict=True)
    return [np.random.default_rng([tag, seed, batch.step, example, slot]) for example, slot in places]
