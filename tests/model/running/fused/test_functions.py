from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
import torch.nn.functional as F

from embedkit.model.changing.dropout import dropout
from embedkit.model.running.attention import attention_with_dropout
from embedkit.model.running.fused import functions, products
from embedkit.model.running.masks import CAUSAL, Seen

pytestmark = pytest.mark.cpu

RUNS = ((2, 5), (1, 4), (3, 1))
TOKENS = sum(rows * length for rows, length in RUNS)
SEEN: list[Seen] = [None, CAUSAL, None]
HEADS, RATE, EPS, SCALE = 2, 0.3, 1e-5, 0.7

Tensors = Sequence[torch.Tensor]


def fused_attention(x: torch.Tensor, *linears: torch.Tensor) -> torch.Tensor:
    return functions.self_attention(x, linears[:3], linears[3:], RUNS, SEEN, heads=HEADS, scale=SCALE, rate=RATE)


def plain_attention(x: torch.Tensor, *linears: torch.Tensor) -> torch.Tensor:
    qkv = [F.linear(x, w, b).unflatten(1, (HEADS, -1)) for w, b in zip(linears[:3], linears[3:], strict=True)]
    return attention_with_dropout(qkv[0], qkv[1], qkv[2], RUNS, SCALE, RATE, SEEN).flatten(1)


def plain_norm(x: torch.Tensor, residual: torch.Tensor, w: torch.Tensor, *rest: torch.Tensor) -> torch.Tensor:
    bias, gamma, beta = rest
    return F.layer_norm(dropout(F.linear(x, w, bias), RATE) + residual, gamma.shape, gamma, beta, EPS)


CASES: dict[str, tuple[Callable[..., torch.Tensor], Callable[..., torch.Tensor], list[tuple[int, ...]]]] = {
    "dense": (functions.dense, F.linear, [(TOKENS, 6), (8, 6), (8,)]),
    "dense-without-bias": (lambda x, w: functions.dense(x, w, None), F.linear, [(TOKENS, 6), (8, 6)]),
    "gelu": (functions.dense_gelu, lambda x, w, b: F.gelu(F.linear(x, w, b)), [(TOKENS, 6), (8, 6), (8,)]),
    "add-norm": (
        lambda *tensors: functions.dense_add_norm(*tensors, EPS, RATE),
        plain_norm,
        [(TOKENS, 6), (TOKENS, 4), (4, 6), (4,), (4,), (4,)],
    ),
    "attention": (fused_attention, plain_attention, [(TOKENS, 6), (8, 6), (8, 6), (8, 6), (8,), (8,), (8,)]),
}


def inputs(shapes: list[tuple[int, ...]], dtype: torch.dtype = torch.float64) -> list[torch.Tensor]:
    torch.manual_seed(0)
    return [torch.randn(shape, dtype=dtype, requires_grad=True) for shape in shapes]


def seeded(function: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    def run(*tensors: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(1)
        return function(*tensors)

    return run


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("onednn", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_value_and_gradient_are_those_of_the_plain_code_and_the_same_masks_are_drawn(
    case: str, onednn: bool, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    if onednn and not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        pytest.skip("this torch has no linear layer of oneDNN")
    monkeypatch.setattr(products, "onednn_is_faster", lambda: onednn)
    fused, plain, shapes = CASES[case]
    mine, theirs = inputs(shapes, dtype), inputs(shapes, dtype)
    out, expected = seeded(fused)(*mine), seeded(plain)(*theirs)
    after = torch.rand(1)
    torch.testing.assert_close(out, expected)
    weight = torch.randn_like(out)
    (out * weight).sum().backward()
    (expected * weight).sum().backward()
    torch.testing.assert_close([t.grad for t in mine], [t.grad for t in theirs])
    seeded(fused)(*mine)
    assert torch.equal(torch.rand(1), after), "another number of draws"


@pytest.mark.parametrize("case", CASES)
def test_gradient_by_differences(case: str) -> None:
    fused, _, shapes = CASES[case]
    assert torch.autograd.gradcheck(seeded(fused), inputs(shapes))


@pytest.mark.parametrize("case", CASES)
def test_only_what_is_needed_has_a_gradient_and_inputs_stay_as_they_are(case: str) -> None:
    fused, plain, shapes = CASES[case]
    for wanted in range(len(shapes)):
        mine, theirs = inputs(shapes), inputs(shapes)
        before = [t.detach().clone() for t in mine]
        for tensors, function in ((mine, fused), (theirs, plain)):
            for i, t in enumerate(tensors):
                t.requires_grad_(i == wanted)
            seeded(function)(*tensors).square().sum().backward()
        torch.testing.assert_close(mine[wanted].grad, theirs[wanted].grad)
        assert all(t.grad is None for i, t in enumerate(mine) if i != wanted)
        torch.testing.assert_close([t.detach() for t in mine], before, atol=0, rtol=0)


def test_attention_without_dropout_is_torchs() -> None:
    tensors = inputs(CASES["attention"][2])
    x, weights, biases = tensors[0], tensors[1:4], tensors[4:]
    out = functions.self_attention(x, weights, biases, RUNS, SEEN, heads=HEADS, scale=SCALE, rate=0.0)
    qkv = [F.linear(x, w, b).unflatten(1, (HEADS, -1)) for w, b in zip(weights, biases, strict=True)]
    expected = attention_with_dropout(qkv[0], qkv[1], qkv[2], RUNS, SCALE, 0.0, SEEN).flatten(1)
    torch.testing.assert_close(out, expected.detach())
