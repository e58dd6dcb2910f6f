"""The spread-out term."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn.functional import normalize

from embedkit.errors import DataError
from tests.objectives import options as o
from tests.objectives.batches import batch
from tests.objectives.helpers import answer, gradients, leaves, loss_of


def test_it_is_the_mean_over_pairs() -> None:
    e = batch(n=7)
    q, p = normalize(e.query, dim=1), normalize(e.positive[:, 0], dim=1)
    pairs = ~torch.eye(7, dtype=torch.bool)
    want = (q @ q.T)[pairs].square().mean() + (p @ p.T)[pairs].square().mean()
    torch.testing.assert_close(loss_of(o.SpreadOut(), e), want)
    both = loss_of(o.SpreadOut(of="query"), e) + loss_of(o.SpreadOut(of="document"), e)
    torch.testing.assert_close(both, want)


def test_it_is_largest_where_everything_is_one_point_and_least_at_right_angles() -> None:
    e = batch(n=4, d=4)
    right = replace(e, query=torch.eye(4).double(), positive=torch.eye(4).double()[:, None])
    assert float(loss_of(o.SpreadOut(), right)) == 0
    one = replace(e, query=torch.ones(4, 4).double(), positive=torch.ones(4, 1, 4).double())
    assert float(loss_of(o.SpreadOut(), one)) == pytest.approx(2)


def test_there_is_a_gradient_below_the_moment_of_uniform_vectors() -> None:
    """sentence-transformers' hinge has none there."""
    eye = torch.eye(8, dtype=torch.float64)
    e = replace(batch(n=8), query=eye + 0.05 * batch(n=8).query, positive=eye[:, None])
    e = leaves(e)
    loss = loss_of(o.SpreadOut(of="query"), e)
    assert 0 < float(loss.detach()) < 1 / 8
    assert float(gradients(loss, e)["query"].norm()) > 0


def test_equal_texts_are_not_pushed_apart() -> None:
    e = batch(n=3)
    e = replace(e, query_id=torch.tensor([1, 1, 2]), query=e.query[[0, 0, 2]])
    value = answer(o.SpreadOut(of="query"), e).value
    cosine = normalize(e.query[0], dim=0) @ normalize(e.query[2], dim=0)
    torch.testing.assert_close(value, cosine.square().expand(3))


def test_one_text_alone_counts_nothing() -> None:
    e = batch(n=3)
    weight = answer(o.SpreadOut(of="document"), replace(e, positive_id=torch.full((3, 1), 5))).weight
    assert weight is not None and not weight.any()


def test_documents_need_positives() -> None:
    with pytest.raises(DataError, match="no documents"):
        answer(o.SpreadOut(), batch(p=0))
