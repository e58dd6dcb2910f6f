"""SimLAP: gates, second classes, who is a positive of whom."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from embedkit.errors import DataError
from embedkit.objectives.simlap import gated_cosine
from tests.objectives import options as o
from tests.objectives.batches import CLASSES, batch
from tests.objectives.helpers import loss_of, make


def test_the_candidate_goes_through_the_anchor_s_gate() -> None:
    anchors, gates, every = (torch.rand(n, 4, dtype=torch.float64) for n in (3, 3, 5))
    for i in range(3):
        want = torch.cosine_similarity((anchors[i] * gates[i])[None], every * gates[i])
        torch.testing.assert_close(gated_cosine(anchors, gates, every)[i], want)


@pytest.mark.parametrize("pairs", ["identical", "permutation", "arbitrary"])
def test_second_classes(pairs: Any) -> None:
    objective: Any = make(o.SimLAP(classes=3, pairs=pairs))
    e = batch(p=0, label=CLASSES)
    drawn = [objective.partners(replace(e, step=step), e.label) for step in (1, 1, 2)]
    assert torch.equal(drawn[0], drawn[1])
    if pairs == "identical":
        assert torch.equal(drawn[0], e.label)
    else:
        assert not torch.equal(drawn[0], drawn[2])
    if pairs == "arbitrary":
        assert bool((drawn[0] != e.label).all())


def test_an_anchor_is_its_own_positive_only_if_asked() -> None:
    e = batch(p=0, n=4, label=torch.tensor([0, 1, 2, 3]))
    weights = []
    for kept in (False, True):
        objective = make(o.SimLAP(classes=4, pairs="identical", with_itself=kept))
        weights.append(objective(e, torch.arange(4)).weight)
    assert weights[0].tolist() == [0.0] * 4 and weights[1].tolist() == [1.0] * 4


def test_a_batch_of_one_class_has_no_other() -> None:
    e = batch(p=0, n=4, label=torch.zeros(4, dtype=torch.int64))
    assert bool(loss_of(o.SimLAP(classes=2), e).isfinite())


def test_it_says_what_it_needs() -> None:
    assert o.SimLAP(classes=2).roles() == {"query", "label"}
    with pytest.raises(DataError, match="has 2 classes, and the batch a label 2"):
        loss_of(o.SimLAP(classes=2), batch(label=CLASSES))
    with pytest.raises(DataError, match="needs labels"):
        loss_of(o.SimLAP(classes=2), batch())
    with pytest.raises(DataError, match="no place for explicit negatives"):
        loss_of(o.SimLAP(classes=3), batch(m=1, label=CLASSES))
