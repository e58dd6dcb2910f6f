"""The two primitives of the masks, on random input against the obvious code."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from embedkit.objectives.logits import log_sum_exp, same_text
from embedkit.types import PAD_ID


@settings(max_examples=100)
@given(st.data(), st.integers(1, 6), st.integers(1, 4), st.integers(1, 9), st.integers(1, 3))
def test_same_text_is_any_equal_id(data: st.DataObject, a: int, k: int, c: int, k2: int) -> None:
    def ids(*shape: int) -> torch.Tensor:
        size = shape[0] * shape[1]
        return torch.tensor(data.draw(st.lists(st.integers(0, 5), min_size=size, max_size=size))).view(shape)

    own, candidates = ids(a, k), ids(c, k2)
    equal = (own[:, None, :, None] == candidates[None, :, None]) & (own != PAD_ID)[:, None, :, None]
    assert torch.equal(same_text(own, candidates), equal.flatten(2).any(2))


def test_large_ids_are_compared_exactly() -> None:
    big = 2**63 - 1
    assert same_text(torch.tensor([[big]]), torch.tensor([[big - 1], [big]])).tolist() == [[False, True]]


@settings(max_examples=50)
@given(st.integers(0, 10_000), st.floats(0, 1), st.sampled_from([1.0, 1e3, 1e6]))
def test_log_sum_exp_over_the_mask(seed: int, share: float, size: float) -> None:
    rng = torch.Generator().manual_seed(seed)
    logits = (size * torch.randn(4, 7, generator=rng, dtype=torch.float64)).requires_grad_()
    mask = torch.rand(4, 7, generator=rng) < share
    got = log_sum_exp(logits, mask)
    for row, keep, value in zip(logits, mask, got, strict=True):
        want = torch.logsumexp(row[keep], 0) if keep.any() else torch.tensor(-torch.inf, dtype=torch.float64)
        torch.testing.assert_close(value, want)
    torch.where(got.isinf(), 0.0, got).sum().backward()
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad.sum(1), mask.any(1).double())
    assert not logits.grad[~mask].any()


def test_an_invalid_number_is_not_hidden() -> None:
    logits = torch.tensor([[0.0, torch.nan], [0.0, torch.inf]])
    assert not log_sum_exp(logits, torch.ones(2, 2, dtype=torch.bool)).isfinite().any()
