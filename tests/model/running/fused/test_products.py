from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from embedkit.model.running.fused import products

pytestmark = pytest.mark.cpu

HAS_ONEDNN = hasattr(torch.ops.mkldnn, "_linear_pointwise")


@pytest.fixture(params=[False, pytest.param(True, marks=pytest.mark.skipif(not HAS_ONEDNN, reason="no oneDNN"))])
def onednn(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    monkeypatch.setattr(products, "onednn_is_faster", lambda: request.param)
    return request.param


def tensors(t: int, k: int, *sizes: int) -> tuple[torch.Tensor, list[torch.Tensor], list[torch.Tensor]]:
    torch.manual_seed(0)
    return torch.randn(t, k), [torch.randn(n, k) for n in sizes], [torch.randn(n) for n in sizes]


@pytest.mark.parametrize(("t", "k", "n"), [(1, 3, 5), (97, 48, 80), (600, 384, 1536)])
def test_products_are_those_of_the_formula(t: int, k: int, n: int, onednn: bool) -> None:
    x, (weight,), (bias,) = tensors(t, k, n)
    gradient = torch.randn(t, n)
    close = {"rtol": 1e-4, "atol": 1e-3}
    torch.testing.assert_close(products.linear(x, weight, bias), x @ weight.T + bias, **close)
    torch.testing.assert_close(products.input_gradient(gradient, weight), gradient @ weight, **close)
    torch.testing.assert_close(products.weight_gradient(gradient, x), gradient.T @ x, **close)


def test_fixed_weights_give_the_same_outputs_for_every_number_of_tokens(onednn: bool) -> None:
    _, weights, biases = tensors(1, 24, 8, 16, 8)
    with torch.inference_mode(), products.fixed_weights():
        for t in (600, 1, 37, 600):
            x = torch.randn(t, 24)
            each = [F.linear(x, w, b) for w, b in zip(weights, biases, strict=True)]
            torch.testing.assert_close(products.joint_linear(x, weights, biases), torch.cat(each, 1))
            torch.testing.assert_close(products.linear(x, weights[1], biases[1]), each[1])
            swapped = products.joint_linear(x, weights[::-1], biases[::-1])
            torch.testing.assert_close(swapped, torch.cat(each[::-1], 1))


def test_fixed_weights_are_laid_out_once_and_forgotten_afterwards(
    onednn: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    joined: list[int] = []
    join = products.join
    monkeypatch.setattr(products, "join", lambda parts: joined.append(len(parts)) or join(parts))
    x, weights, biases = tensors(5, 4, 3, 3)
    with torch.inference_mode():
        with products.fixed_weights():
            first = products.joint_linear(x, weights, biases)
            assert torch.equal(products.joint_linear(x, weights, biases), first)
            assert joined == [2, 2]  # weights and biases
        for weight in weights:
            weight.mul_(2)
        changed = products.joint_linear(x, weights, [torch.zeros_like(b) for b in biases])
        torch.testing.assert_close(changed, 2 * (first - torch.cat(biases)))


def test_other_types_than_float32_are_torchs(onednn: bool) -> None:
    x, (weight,), (bias,) = (
        [t.double() for t in part] if isinstance(part, list) else part.double() for part in tensors(9, 4, 6)
    )
    torch.testing.assert_close(products.linear(x, weight, bias), F.linear(x, weight, bias), rtol=0, atol=0)
