"""Attention over packed rows by torch's kernels of variable length: what each row gives alone, on a GPU."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from embedkit.model.running import kernels
from embedkit.model.running.attention import attention_by_torch
from embedkit.model.running.encoder import Encoder
from embedkit.model.running.kernels import Rows, attention_by_kernels
from embedkit.model.running.masks import CAUSAL, RowMask, Seen, as_window, seen_by, window_of
from embedkit.types import RowBatch
from tests.device import DEVICE
from tests.model.architectures import build
from tests.model.reading.test_tokens import batch_of, rows_of
from tests.model.running.test_packing import gradients

Load = Callable[..., Encoder]
RUNS = [(2, 9), (3, 4), (1, 1)]
TOKENS = sum(rows * length for rows, length in RUNS)


def band(length: int, left: int, right: int) -> Tensor:
    ahead = torch.arange(length)[None] - torch.arange(length)[:, None]
    return (ahead >= -left) & (ahead <= right)


def attend(query: Tensor, key: Tensor, value: Tensor, seen: list[Seen], scale: float | None = None) -> Tensor:
    return attention_by_kernels(query, key, value, rows(), scale, 0.0, as_window(seen[0]), lambda: seen)


def by_torch(query: Tensor, key: Tensor, value: Tensor, seen: list[Seen], scale: float | None = None) -> Tensor:
    here = [s.to(DEVICE) if isinstance(s, Tensor) else s for s in seen]
    return attention_by_torch(query, key, value, RUNS, scale, 0.0, here)


def rows() -> Rows:
    lengths = [length for count, length in RUNS for _ in range(count)]
    ends = torch.tensor([0, *np.cumsum(lengths).tolist()], dtype=torch.int32, device=DEVICE)
    return Rows(RUNS, ends)


def states(dtype: torch.dtype, heads: int = 2, size: int = 16) -> list[Tensor]:
    torch.manual_seed(0)
    made = [torch.randn(TOKENS, heads, size, dtype=torch.float64) for _ in range(4)]
    return [t.to(DEVICE, dtype).requires_grad_(i < 3) for i, t in enumerate(made)]


@pytest.mark.parametrize(
    ("square", "expected"),
    [
        (band(5, 1, 1), (1, 1)),
        (band(5, 2, 0), (2, 0)),
        (band(5, 4, 4), (-1, -1)),
        (band(5, 4, 0), (-1, 0)),
        (band(5, 0, 0), (0, 0)),
        (band(5, 1, 1) | band(5, 0, 0).flip(0), None),
        (torch.zeros(3, 3, dtype=torch.bool), None),
        (None, (-1, -1)),
        (CAUSAL, (-1, 0)),
    ],
    ids=["local", "left", "all", "causal", "self", "cross", "nothing", "no-mask", "causal-by-name"],
)
def test_a_window_is_found(square: Seen, expected: tuple[int, int] | None) -> None:
    assert as_window(square) == expected


def test_the_window_of_a_layer_is_that_of_its_longest_row() -> None:
    """Shorter rows see all of themselves through it, and it is looked for once a mask."""
    asked: list[int] = []

    def near(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        asked.append(query.numel())
        return (query - key).abs() <= 2

    mask, module = RowMask(near, {}), torch.nn.Module()
    assert seen_by(module, mask, RUNS[2:]) == [None] and as_window(None) == window_of(module, mask, RUNS[2:])
    assert [window_of(module, mask, RUNS) for _ in range(3)] == [(2, 2)] * 3 and len(asked) == 2
    module.is_causal = True
    assert window_of(module, None, RUNS) == (-1, 0) and window_of(module, None, RUNS, False) == (-1, -1)


@pytest.mark.parametrize("seen", [[None] * 3, [CAUSAL] * 3, [band(9, 2, 2), band(4, 2, 2), None]])
def test_numbers_that_no_kernel_takes_go_row_by_row(seen: list[Seen]) -> None:
    query, key, value, _ = states(torch.float64)
    torch.testing.assert_close(attend(query, key, value, seen), by_torch(query, key, value, seen))


@pytest.mark.parametrize("window", [(-1, -1), (-1, 0), (2, 2), (0, 3)], ids=["all", "causal", "near", "ahead"])
def test_rows_filled_up_for_the_attention_alone(window: tuple[int, int]) -> None:
    query, key, value, gradient = states(torch.float64)
    limits = [bound if bound >= 0 else TOKENS for bound in window]
    found = kernels._padded(query, key, value, rows(), 0.3, 0.0, window)
    expected = by_torch(query, key, value, [band(length, *limits) for _, length in RUNS], 0.3)
    torch.testing.assert_close(found, expected)
    grads = (torch.autograd.grad(out, (query, key, value), gradient) for out in (found, expected))
    torch.testing.assert_close(*grads)


def test_a_row_much_longer_than_the_others_is_not_what_all_are_filled_up_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "_padded", lambda *given: pytest.fail("filled up"))
    runs = [(1, 400), (300, 2)]
    ends = torch.tensor([0, *np.cumsum([400, *[2] * 300]).tolist()], dtype=torch.int32, device=DEVICE)
    nought = torch.zeros(1000, 2, 8, device=DEVICE, dtype=torch.float64)
    out = attention_by_kernels(nought, nought, nought + 1, Rows(runs, ends), None, 0.0, (-1, -1), lambda: [None] * 2)
    torch.testing.assert_close(out, nought + 1)


@pytest.mark.cpu
def test_a_device_without_the_kernels_is_found() -> None:
    assert "kernels for rows of any length fail here: NotImplementedError" in str(kernels.obstacle(torch.device("cpu")))


@pytest.mark.parametrize("wrong", ["result", "gradient"])
def test_kernels_that_compute_something_else_are_found(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def attend(*given: Any) -> Tensor:
        *states, rows, scale, rate, _, seen = given
        out = attention_by_torch(*states, rows.runs, scale, rate, seen())
        if broken:
            out = 1.01 * out if wrong == "result" else out.detach() + 0.9 * (out - out.detach())
        return out

    monkeypatch.setattr(kernels, "attention_by_kernels", attend)
    monkeypatch.setattr(kernels, "TOLERANCES", {torch.float32: 1e-3})
    broken, device = False, torch.device("cpu")
    assert kernels.obstacle.__wrapped__(device) is None
    broken = True
    assert "off here in torch.float32" in str(kernels.obstacle.__wrapped__(device))


@pytest.mark.gpu
def test_this_gpu_has_them() -> None:
    assert kernels.obstacle(torch.device(DEVICE)) is None


MASKS: dict[str, list[Seen]] = {
    "all": [None] * 3,
    "causal": [CAUSAL] * 3,
    "local": [band(9, 2, 2), band(4, 2, 2), None],
    "causal-local": [band(9, 2, 0), band(4, 2, 0), None],
}


@pytest.mark.gpu
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("size", [16, 32, 64, 128, 12])
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 3e-2)], ids=["float32", "bfloat16"]
)
def test_result_and_gradient_are_those_of_rows_alone(
    dtype: torch.dtype, tolerance: float, size: int, mask: str
) -> None:
    query, key, value, outer = states(dtype, size=size)
    found = attend(query, key, value, MASKS[mask], 0.3)
    mine = [found, *torch.autograd.grad((found * outer).sum(), (query, key, value))]
    exact = [t.detach().double().requires_grad_() for t in (query, key, value)]
    wanted = by_torch(*exact, MASKS[mask], 0.3)
    theirs = [wanted, *torch.autograd.grad((wanted * outer.double()).sum(), exact)]
    for got, want in zip(mine, theirs, strict=True):
        assert float((got.double() - want).norm() / want.norm()) < tolerance


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_each_kernel_is_used_where_it_fits(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    for name in ("_flash", "_efficient"):
        own = getattr(kernels, name)
        monkeypatch.setattr(kernels, name, lambda *a, own=own, name=name, **k: asked.append(name) or own(*a, **k))
    query, key, value, _ = states(dtype)
    attend(query, key, value, [None] * 3)
    assert asked == ["_efficient" if dtype == torch.float32 else "_flash"]


@pytest.mark.parametrize("dtype", [torch.float32, pytest.param(torch.bfloat16, marks=pytest.mark.gpu)])
def test_dropout_has_the_mean_and_the_variance_of_dropout(dtype: torch.dtype) -> None:
    """Equal keys give each of t probabilities 1/t; over values of one the output is then a mean of t masks."""
    count, t, rate = 2000, 4, 0.25
    nought = torch.zeros(count * t, 2, 16, device=DEVICE, dtype=dtype)
    ends = torch.arange(0, count * t + 1, t, dtype=torch.int32, device=DEVICE)
    torch.manual_seed(0)
    drawn = [
        attention_by_kernels(nought, nought, nought + 1, Rows([(count, t)], ends), None, rate, (-1, -1), list)[..., 0]
        for _ in range(2)
    ]
    assert not torch.equal(*drawn)
    drawn = [one.float() for one in drawn]
    assert float(drawn[0].mean()) == pytest.approx(1, abs=0.02)
    assert float(drawn[0].var()) == pytest.approx(rate / (1 - rate) / t, rel=0.08)
    assert len(drawn[0].view(count, -1).unique(dim=0)) > count / 2, "each row has a mask of its own"


@pytest.mark.gpu
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", [None, "roberta", "modernbert", "qwen2"])
def test_gradient_of_an_encoder(
    load: Load, tmp_path: Path, family: str | None, precision: torch.dtype, texts: list[str]
) -> None:
    encoder = load(build(family, tmp_path / family) if family else None, pooling="mean", dropout=0.0)
    assert encoder.module.packs
    encoder.module.train()
    padded, expected = gradients(encoder, texts, False)
    with torch.autocast("cuda", precision, enabled=precision != torch.float32):
        packed, found = gradients(encoder, texts, True)
    tolerance = 1e-4 if precision == torch.float32 else 6e-2
    assert float((packed - padded).norm() / padded.norm()) < tolerance
    assert found.keys() == expected.keys()
    all_found, all_expected = (torch.cat([g.flatten() for g in grads.values()]) for grads in (found, expected))
    assert float((all_found - all_expected).norm() / all_expected.norm()) < tolerance


@pytest.mark.gpu
@pytest.mark.parametrize("pooling", ["mean", "cls", "lasttoken", "max"])
def test_a_packed_micro_batch_is_not_waited_for(load: Load, pooling: str, texts: list[str]) -> None:
    """Laid out, forward and backward: torch raises where the host would wait for the GPU."""
    encoder = load(pooling=pooling)
    encoder.module.train()
    batch: RowBatch = batch_of(encoder, rows_of(texts))
    some = np.arange(len(texts))
    encoder.embed(encoder.features(batch, some)).sum().backward()
    torch.cuda.set_sync_debug_mode("error")
    try:
        encoder.embed(encoder.features(batch, some)).sum().backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")
