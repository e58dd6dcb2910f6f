"""What a token sees of its own row, for rows that are laid end to end.

Before its first layer a transformers model asks its attention implementation for a mask, once per kind of layer (full,
sliding window, chunked), and says what it should be: a function of the places of a query and of a key. Taken at its
word for every single row, that function gives packed rows the attention of any model, whatever its kinds of layers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, Final

import torch
from torch import Tensor, nn

CAUSAL: Final = "causal"
"""A token sees itself and what stands before it in its row."""

Seen = Tensor | str | None
"""What the tokens of a row see of it: None everything, `CAUSAL`, or bool [t, t], True where a query sees a key."""

Window = tuple[int, int]
"""Tokens that a token sees to its left and to its right, -1 for all."""

LONG = 128
"""Tokens of a row beyond which its window is not looked for among all pairs: those of 8,192 tokens take two seconds of
a batch, what is asked instead 9 ms (one core)."""
_ASKED = 32

OWN_LOGITS = ("position_bias", "softcap", "s_aux")
"""Arguments of an attention function that change its logits in a way packed rows do not know."""


class RowMask:
    """The mask of one kind of layer; made when it is needed, because only then is known how rows are laid out.

    Args:
        mask_function: ``(batch, head, query, key) -> bool`` of broadcast places.
        arguments: all that transformers handed over, `mask_function` included.
    """

    def __init__(self, mask_function: Callable[..., Tensor], arguments: dict[str, Any]) -> None:
        self._function, self._arguments = mask_function, arguments
        self._square = torch.ones(0, 0, dtype=torch.bool)
        self._whole: Seen = None
        self._found: dict[int, Seen] = {}
        self._windows: dict[int, Window | None] = {}

    @cached_property
    def padded(self) -> Tensor | None:
        """For padded rows: what transformers itself hands to `scaled_dot_product_attention`."""
        from transformers.masking_utils import sdpa_mask

        return sdpa_mask(**self._arguments)

    def of_row(self, length: int) -> Seen:
        """For a row of `length` tokens. Places are counted in the row, whatever positions its tokens carry."""
        if length > len(self._square):
            self._square = self._evaluate(1 << (length - 1).bit_length())
            self._whole, self._found = _kind(self._square), {}
        if not isinstance(self._whole, Tensor):
            return self._whole
        if length not in self._found:
            self._found[length] = _kind(self._square[:length, :length])
        return self._found[length]

    def window(self, length: int) -> Window | None:
        """`of_row` as a window; None where it is none."""
        if length not in self._windows:
            long = self._window_of_long(length) if length > LONG else None
            self._windows[length] = as_window(self.of_row(length)) if long is None else long
        return self._windows[length]

    def _window_of_long(self, length: int) -> Window | None:
        """The window of a row too long to ask for every pair; None where it must be asked for all.

        Some tokens say what they see of the whole row, and every token what it sees at both edges of the window.
        """
        places, last = torch.arange(length), length - 1
        some = torch.cat([places[:_ASKED], places[:: length // _ASKED], places[-_ASKED:]])
        found = _window_seen_by(some, self._ask(some[:, None], places[None]).expand(len(some), length))
        if found is None:
            return None
        left, right = (last if bound < 0 else bound for bound in found)
        for offset, inside in ((-left - 1, False), (-left, True), (right, True), (right + 1, False)):
            query = places[(places + offset >= 0) & (places + offset <= last)]
            if bool((self._ask(query, query + offset) != inside).any()):
                return None
        return found

    def _evaluate(self, length: int) -> Tensor:
        places = torch.arange(length)
        return self._ask(places[:, None], places[None]).expand(length, length)

    def _ask(self, query: Tensor, key: Tensor) -> Tensor:
        one = torch.zeros((), dtype=torch.int64)
        return self._function(one, one, query, key)


def _kind(square: Tensor) -> Seen:
    if bool(square.all()):
        return None
    return CAUSAL if torch.equal(square, torch.ones_like(square).tril()) else square


def as_window(seen: Seen) -> Window | None:
    """What a token sees as a window around it; None where it is none."""
    if not isinstance(seen, Tensor):
        return (-1, 0) if seen == CAUSAL else (-1, -1)
    return _window_seen_by(torch.arange(len(seen)), seen)


def _window_seen_by(some: Tensor, seen: Tensor) -> Window | None:
    """The window of some tokens of a row, the first and the last among them, that see [len(some), t] of it."""
    left, right, last = int(seen[-1].sum()) - 1, int(seen[0].sum()) - 1, seen.shape[1] - 1
    ahead = torch.arange(last + 1)[None] - some[:, None]
    if min(left, right) < 0 or not torch.equal(seen, (ahead >= -left) & (ahead <= right)):
        return None
    return (-1 if left == last else left), (-1 if right == last else right)


def window_of(
    module: nn.Module, mask: RowMask | None, runs: Sequence[tuple[int, int]], is_causal: bool | None = None
) -> Window | None:
    """`seen_by` as one window: rows of a layer see alike, so that of the longest holds for all; None if it is none."""
    longest = max(runs, key=lambda run: run[1])
    return as_window(seen_by(module, mask, [longest], is_causal)[0]) if mask is None else mask.window(longest[1])


def seen_by(
    module: nn.Module, mask: RowMask | None, runs: Sequence[tuple[int, int]], is_causal: bool | None = None
) -> list[Seen]:
    """What the rows of each run see; a model that asks for no mask says it in its layers, as transformers has it."""
    if mask is not None:
        return [mask.of_row(length) for _, length in runs]
    causal = getattr(module, "is_causal", False) if is_causal is None else is_causal
    return [CAUSAL if causal else None] * len(runs)


def row_mask(**arguments: Any) -> RowMask:
    """Mask function for transformers (`AttentionMaskInterface`): nothing is made yet."""
    return RowMask(arguments["mask_function"], arguments)
