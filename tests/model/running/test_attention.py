from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from embedkit.model.changing.dropout import draw_factor
from embedkit.model.running.attention import attention_with_dropout
from embedkit.model.running.masks import CAUSAL, Seen

pytestmark = pytest.mark.cpu

RUNS = ((2, 5), (1, 4), (3, 1), (1, 2))
TOKENS = sum(rows * length for rows, length in RUNS)
RATE, SCALE = 0.3, 0.7
ODD: list[Seen] = [None, torch.eye(4, dtype=torch.bool), CAUSAL, torch.tensor([[True, False], [True, True]])]
"""A kind of mask for each run."""


def states(seed: int = 0, heads: int = 2, d: int = 3) -> list[torch.Tensor]:
    torch.manual_seed(seed)
    return [torch.randn(TOKENS, heads, d, dtype=torch.float64, requires_grad=True) for _ in range(3)]


def naive(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, seen: list[Seen]) -> torch.Tensor:
    """Row by row and head by head; dropout's numbers are drawn once, for all runs end to end."""
    out, start = torch.zeros_like(query), 0
    heads, d = query.shape[1:]
    sizes = [rows * heads * length * length for rows, length in RUNS]
    factors = draw_factor(torch.empty(sum(sizes), dtype=query.dtype), RATE).split(sizes)
    for (rows, length), own, drawn in zip(RUNS, seen, factors, strict=True):
        hidden = torch.zeros(length, length, dtype=query.dtype)
        if own is not None:
            hidden[~(own if isinstance(own, torch.Tensor) else torch.ones(length, length).tril().bool())] = -torch.inf
        factor = drawn.view(rows, heads, length, length)
        for row in range(rows):
            here = slice(start + row * length, start + (row + 1) * length)
            for h in range(heads):
                p = (query[here, h] @ key[here, h].T * SCALE + hidden).softmax(-1) * factor[row, h]
                out = out.index_put((torch.arange(here.start, here.stop), torch.tensor(h)), p @ value[here, h])
        start += rows * length
    assert d == value.shape[-1]
    return out


@pytest.mark.parametrize("seen", [[None] * 4, [CAUSAL] * 4, ODD], ids=["all", "causal", "odd"])
def test_output_and_gradient_are_those_of_the_formula(seen: list[Seen]) -> None:
    mine, plain = states(), states()
    torch.manual_seed(1)
    out = attention_with_dropout(*mine, RUNS, SCALE, RATE, seen)
    torch.manual_seed(1)
    expected = naive(*plain, seen)
    torch.testing.assert_close(out, expected)
    weight = torch.randn_like(out)
    (out * weight).sum().backward()
    (expected * weight).sum().backward()
    torch.testing.assert_close([t.grad for t in mine], [t.grad for t in plain])


@pytest.mark.parametrize("seen", [None, ODD], ids=["all", "odd"])
def test_gradient_by_differences(seen: list[Seen] | None) -> None:
    def with_the_same_masks(*qkv: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(2)
        return attention_with_dropout(*qkv, RUNS, SCALE, RATE, seen)

    assert torch.autograd.gradcheck(with_the_same_masks, states())


def test_inputs_are_left_as_they_were() -> None:
    """Rows of one token are contiguous in every layout, which must not make a copy a view."""
    inputs = states()
    before = [t.detach().clone() for t in inputs]
    attention_with_dropout(*inputs, RUNS, SCALE, RATE).sum().backward()
    torch.testing.assert_close([t.detach() for t in inputs], before)


def test_without_dropout_it_is_torchs_attention() -> None:
    inputs, start = states(), 0
    out = attention_with_dropout(*inputs, RUNS, SCALE, 0.0)
    for rows, length in RUNS:
        here = slice(start, start + rows * length)
        q, k, v = (t[here].unflatten(0, (rows, length)).transpose(1, 2) for t in inputs)
        expected = F.scaled_dot_product_attention(q, k, v, scale=SCALE).transpose(1, 2).flatten(0, 1)
        torch.testing.assert_close(out[here], expected)
        start += rows * length


def test_autocast_gives_a_gradient_in_the_type_of_the_input() -> None:
    inputs = [t.detach().float().requires_grad_() for t in states()]
    half = [t.bfloat16() for t in inputs]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = attention_with_dropout(*half, RUNS, SCALE, 1e-5)
    assert out.dtype == torch.bfloat16
    out.float().sum().backward()
    full = attention_with_dropout(*[t.detach() for t in inputs], RUNS, SCALE, 1e-5)
    torch.testing.assert_close(out.float(), full, atol=0.03, rtol=0.03)
    assert all(t.grad is not None and t.grad.isfinite().all() for t in inputs)
