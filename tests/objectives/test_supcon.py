"""SupCon over views and labels."""

from __future__ import annotations

import pytest
import torch

from embedkit.errors import DataError
from tests.objectives import options as o
from tests.objectives.batches import CLASSES, batch, infonce
from tests.objectives.helpers import answer, assert_same_loss, loss_of


def test_supcon_without_labels_is_infonce_over_all_views() -> None:
    e = batch()
    nt_xent = infonce(temperature=0.1, directions=("q-d", "q-q", "d-q", "d-d"), partition="per_direction")
    supcon = o.SupCon(temperature=0.1, base_temperature=None, labels=False)
    assert_same_loss(lambda e: loss_of(supcon, e), lambda e: loss_of(nt_xent, e), e)


def test_a_label_alone_in_the_batch_counts_nothing() -> None:
    out = answer(o.SupCon(), batch(p=0, label=torch.tensor([*range(10), 0, 1])))
    assert out.weight is not None and out.weight.tolist() == [1, 1, *[0] * 8, 1, 1]


def test_supcon_says_what_it_needs() -> None:
    assert o.SupCon().roles() == {"query", "label"} and o.SupCon(labels=False).roles() == {"query", "positive"}
    with pytest.raises(DataError, match="needs labels"):
        loss_of(o.SupCon(), batch())
    with pytest.raises(DataError, match="needs a positive"):
        loss_of(o.SupCon(labels=False), batch(p=0))
    with pytest.raises(DataError, match="no place for explicit negatives"):
        loss_of(o.SupCon(), batch(m=1, label=CLASSES))
