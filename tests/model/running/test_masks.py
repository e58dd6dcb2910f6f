from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import masking_utils as hf

from embedkit.model.running.masks import CAUSAL, as_window, row_mask


def causal(q: int, k: int) -> bool:
    return k <= q


KINDS: dict[str, tuple[Callable[..., Any], Callable[[int, int], bool]]] = {
    "full": (hf.bidirectional_mask_function, lambda q, k: True),
    "causal": (hf.causal_mask_function, causal),
    "window": (hf.sliding_window_causal_mask_function(3), lambda q, k: causal(q, k) and k > q - 3),
    "window of both sides": (hf.sliding_window_bidirectional_mask_function(2), lambda q, k: abs(q - k) <= 2),
    "chunks": (
        hf.chunked_causal_mask_function(3, torch.zeros(1, dtype=torch.int64)),
        lambda q, k: causal(q, k) and q // 3 == k // 3,
    ),
    "causal or all": (hf.or_masks(hf.causal_mask_function, lambda *args: torch.tensor(True)), lambda q, k: True),
}


def square(seen: Any, length: int) -> Tensor:
    if seen is None:
        return torch.ones(length, length, dtype=torch.bool)
    return _tril(length) if isinstance(seen, str) else seen


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lengths", [(1, 2, 3, 9, 4, 70), (70, 9, 4, 3, 2, 1)])
def test_a_row_sees_what_the_function_says(kind: str, lengths: tuple[int, ...]) -> None:
    function, sees = KINDS[kind]
    mask = row_mask(mask_function=function)
    for length in lengths:
        expected = torch.tensor([[sees(q, k) for k in range(length)] for q in range(length)])
        seen = mask.of_row(length)
        assert torch.equal(square(seen, length), expected)
        if length > 1:
            assert (seen is None) == bool(expected.all()), "without a mask attention is faster"
            is_causal = isinstance(seen, str) and seen == CAUSAL
            assert is_causal == (kind in ("causal", "window", "chunks") and torch.equal(expected, _tril(length)))


def _tril(length: int) -> Tensor:
    return torch.ones(length, length, dtype=torch.bool).tril()


def test_short_rows_of_a_window_are_causal() -> None:
    mask = row_mask(mask_function=hf.sliding_window_causal_mask_function(8))
    assert isinstance(mask.of_row(9), Tensor)
    assert mask.of_row(8) == mask.of_row(2) == CAUSAL


@pytest.mark.parametrize("padding", [False, True])
def test_padded_rows_get_the_mask_of_transformers(padding: bool) -> None:
    attention_mask = torch.ones(2, 5, dtype=torch.bool)
    attention_mask[1, :2] = not padding
    options: dict[str, Any] = {
        "batch_size": 2,
        "q_length": 5,
        "kv_length": 5,
        "mask_function": hf.causal_mask_function,
        "attention_mask": attention_mask,
        "allow_is_causal_skip": True,
    }
    mask = row_mask(**options)
    expected = hf.sdpa_mask(**options)
    assert (mask.padded is None) == (expected is None) == (not padding)
    if expected is not None:
        assert torch.equal(mask.padded, expected)
        assert mask.padded is mask.padded, "made once for all layers"


HOLE = 300
FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{kind: function for kind, (function, _) in KINDS.items()},
    "wide window": hf.sliding_window_bidirectional_mask_function(40),
    "wider than the row": hf.sliding_window_causal_mask_function(1000),
    "not itself": lambda batch, head, q, k: q != k,
    "nothing": lambda batch, head, q, k: torch.zeros_like(q + k, dtype=torch.bool),
    "one token sees less": lambda batch, head, q, k: ((q - k).abs() <= 2) & ((q != HOLE) | (k <= q)),
    "one token sees more": lambda batch, head, q, k: ((q - k).abs() <= 2) | ((q == HOLE) & (k == q + 3)),
    "every other token": lambda batch, head, q, k: ((q - k).abs() <= 4) & ((q - k) % 2 == 0),
}


@pytest.mark.parametrize("kind", FUNCTIONS)
def test_the_window_of_a_long_row_is_found_without_asking_for_every_pair(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    length, asked = 601, []

    def function(batch: Tensor, head: Tensor, q: Tensor, k: Tensor) -> Tensor:
        asked.append(torch.broadcast_shapes(q.shape, k.shape).numel())
        return FUNCTIONS[kind](batch, head, q, k)

    expected = as_window(row_mask(mask_function=FUNCTIONS[kind]).of_row(length))
    assert row_mask(mask_function=function).window(length) == expected
    few = sum(asked) < length**2 / 3
    assert few == (expected is not None), "where no window is found, every pair is asked for"
    assert (expected is None) == (kind in {"chunks", "not itself", "nothing", *list(FUNCTIONS)[-3:]})
