"""The Mann-Whitney loss: what it ranks, its reductions, its blocks."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import normalize

from embedkit.objectives import auc
from tests.objectives import options as o
from tests.objectives.batches import batch, infonce, tangled
from tests.objectives.helpers import answer, gradients, leaves, loss_of


def test_the_mean_is_the_sum_over_the_negatives_of_the_whole_batch() -> None:
    e = batch(n=5, m=2)
    mean, total = (loss_of(o.MannWhitney(temperature=0.1, reduction=r), e) for r in ("mean", "sum"))
    torch.testing.assert_close(total, mean * (5 * 4 + 5 * 5 * 2))


@settings(max_examples=40)
@given(st.lists(st.floats(-50, 50), min_size=1, max_size=4), st.lists(st.floats(-50, 50), min_size=1, max_size=9))
def test_the_pairs_are_the_formula(positive: list[float], negative: list[float]) -> None:
    first, second = (torch.tensor(x, dtype=torch.float64) for x in (positive, [*negative, -math.inf]))
    got = auc.PairSums.apply(first, second)
    want = [sum(math.log1p(math.exp(-abs(n - p))) + max(n - p, 0) for n in negative) for p in positive]
    assert got.tolist() == pytest.approx(want, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_blocks_of_pairs_change_nothing(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    e = leaves(tangled(batch(m=1)))
    whole = loss_of(o.MannWhitney(temperature=0.1), e)
    want = gradients(whole, e)
    monkeypatch.setattr(auc, "_size", lambda positive: size)
    cut = loss_of(o.MannWhitney(temperature=0.1), e)
    torch.testing.assert_close(cut, whole, rtol=1e-12, atol=0)
    for f, g in gradients(cut, e).items():
        torch.testing.assert_close(g, want[f], rtol=1e-9, atol=1e-12)


def test_the_area_is_that_of_all_pairs_and_the_loss_bounds_it() -> None:
    e = batch(n=9)
    s = normalize(e.query, dim=1) @ normalize(e.positive[:, 0], dim=1).T
    off = s[~torch.eye(9, dtype=torch.bool)]
    area = (s.diagonal()[:, None] > off).double().mean()
    out = answer(o.MannWhitney(), e)
    torch.testing.assert_close(out.metrics["auc"].double(), area)
    assert float(out.value.mean()) >= math.log(2) * (1 - float(area))


def test_a_shift_of_one_query_matters_here_and_not_to_infonce() -> None:
    """A coordinate that all documents share raises every score of a query that has it too."""
    e = batch(n=4)
    ones = torch.ones(4, 1, dtype=torch.float64)
    shift = torch.tensor([[0.0], [0.0], [0.0], [9.0]], dtype=torch.float64)
    documents = torch.cat([e.positive, ones[:, None]], 2)
    plain = replace(
        e, query=torch.cat([e.query, 0 * shift], 1), positive=documents, negative=e.negative.new_zeros(4, 0, 9)
    )
    shifted = replace(plain, query=torch.cat([e.query, shift], 1))
    soft = infonce(similarity="dot", temperature=2.0)
    torch.testing.assert_close(loss_of(soft, shifted), loss_of(soft, plain))
    pairs = o.MannWhitney(similarity="dot", temperature=2.0)
    assert float(loss_of(pairs, shifted)) > 1.2 * float(loss_of(pairs, plain))


def test_a_batch_without_negatives_counts_nothing() -> None:
    e = batch(n=2)
    out = answer(o.MannWhitney(), replace(e, query_id=e.query_id[:1].expand(2)))
    assert out.weight is not None and not out.weight.any() and not out.value.any()
