"""Pairs of views, one at a time."""

from __future__ import annotations

from dataclasses import replace

import pytest

from embedkit.errors import DataError
from embedkit.types import Embeddings
from tests.objectives import options as o
from tests.objectives.batches import WEIGHT, batch, infonce
from tests.objectives.helpers import answer, assert_same_loss, loss_of, make


def test_pairs_of_views_add_up() -> None:
    def sliced(e: Embeddings, k: int) -> Embeddings:
        return replace(e, positive=e.positive[:, k : k + 1], positive_id=e.positive_id[:, k : k + 1])

    first = o.ViewPairs(objective=infonce())
    assert_same_loss(
        lambda e: loss_of(first, e),
        lambda e: loss_of(infonce(), sliced(e, 0)) + loss_of(infonce(), sliced(e, 1)),
        batch(p=2, m=1, weight=WEIGHT),
    )
    everything = o.ViewPairs(objective=infonce(), pairs="all", reduction="mean")
    assert len(make(everything).terms(batch(p=3))) == 6
    assert o.leaves(everything) == [infonce()]
    with pytest.raises(DataError, match="no positives to pair"):
        loss_of(first, batch(p=0))


def test_texts_of_the_views_left_out_stay_known() -> None:
    """Row 1's second positive is row 0's first positive: no pair of row 1's may take it for a negative."""
    e = batch(p=2)
    positive_id = e.positive_id.clone()
    positive_id[1, 1] = positive_id[0, 0]
    masked = [
        answer(infonce(), term.embeddings).metrics["masked"]
        for term in make(o.ViewPairs(objective=infonce())).terms(replace(e, positive_id=positive_id))
    ]
    assert [float(m) * len(e) for m in masked] == [1.0, 1.0]
