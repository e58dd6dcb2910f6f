"""Metric learning on labels, and attraction and repulsion."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from embedkit.errors import DataError, RecipeError
from tests.objectives import options as o
from tests.objectives.batches import CLASSES, WEIGHT, batch, knotted
from tests.objectives.examples_labels import TWO
from tests.objectives.helpers import answer, assert_same_loss, gradients, leaves, loss_of
from tests.objectives.naive import metric

LABELLED = (o.Circle(), o.CircleBatch(), o.MultiSimilarity(), o.LabelContrastive(), o.LabelTriplet())


@pytest.mark.parametrize("config", [o.LabelContrastive(positive_margin=0.9), o.LabelContrastive(negative_margin=1.5)])
def test_label_contrastive_is_two_means_over_the_pairs_with_a_loss(config: o.LabelContrastive) -> None:
    e = knotted(batch(p=1, n=6, label=TWO))
    assert_same_loss(lambda e: loss_of(config, e), lambda e: metric.label_contrastive(config, e), e)


def test_equal_texts_stay_positives_of_each_other() -> None:
    """An anchor is known by its place; by a similarity of 1 its duplicate would be lost, and the loss with it."""
    x = torch.tensor([[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0], [-1.0, 1.0]]).double()
    e = replace(batch(p=0, n=4, d=2), query=x, label=torch.tensor([0, 0, 1, 2]))
    out = answer(o.MultiSimilarity(mine=None, beta=1000.0), e)
    assert out.value[:2].tolist() == pytest.approx([0.5 * math.log(1 + math.exp(-1.0))] * 2, rel=1e-12)


def test_hardest_is_batch_hard_of_sentence_transformers() -> None:
    """Theirs counts every anchor; with a margin that none satisfies, so does ours."""
    e = batch(p=0, label=CLASSES)
    e = replace(e, query=e.query / e.query.norm(dim=1, keepdim=True))
    theirs = o.STLoss(loss="BatchHardTripletLoss", inputs=("query",), target="label", arguments={"margin": 1.9})
    ours = loss_of(o.LabelTriplet(margin=1.9, triplets="hardest"), e)
    torch.testing.assert_close(ours, loss_of(theirs, e), rtol=1e-6, atol=0)


def test_kinds_of_triplets_part_those_with_a_loss() -> None:
    e, count = batch(p=0, label=CLASSES), {}
    for kind in ("all", "semi_hard", "hard"):
        weight = answer(o.LabelTriplet(margin=0.3, triplets=kind), e).weight
        assert weight is not None
        count[kind] = float(weight.sum())
    assert count["all"] == count["semi_hard"] + count["hard"] and min(count.values()) > 0


def test_without_a_violation_the_loss_is_zero() -> None:
    eye = torch.eye(4, dtype=torch.float64).repeat_interleave(2, 0)
    e = leaves(replace(batch(p=0, n=8, d=4), query=eye, label=torch.arange(8) // 2))
    for config in (o.LabelTriplet(), o.LabelContrastive(negative_margin=1.0)):
        loss = loss_of(config, e)
        assert float(loss.detach()) == 0 and not any(g.any() for g in gradients(loss, e).values())


@pytest.mark.parametrize("config", LABELLED, ids=lambda c: c.name)
def test_they_say_what_they_need(config: o.ObjectiveConfig) -> None:
    assert config.roles() == {"query", "label"} and not config.explicit
    with pytest.raises(DataError, match="needs labels"):
        loss_of(config, batch())
    with pytest.raises(DataError, match="no place for explicit negatives"):
        loss_of(config, batch(m=1, label=CLASSES))


def test_a_loss_over_the_batch_refuses_weights() -> None:
    with pytest.raises(DataError, match="cannot weight examples"):
        loss_of(o.CircleBatch(), batch(label=CLASSES, weight=WEIGHT))


def test_attraction_of_two_views_is_the_squared_distance() -> None:
    e = batch(n=5)
    z, p = (x / x.norm(dim=-1, keepdim=True) for x in (e.query, e.positive[:, 0]))
    alone = loss_of(o.CACR(positive_sharpness=7.0, repulsion=0.0), e)
    torch.testing.assert_close(alone, (z - p).square().sum(1).mean(), rtol=1e-12, atol=0)


def test_a_copy_of_the_encoder_is_asked_for() -> None:
    assert o.CACRKeys().target_momentum == 0.99 and o.CACRKeys(momentum=None).target_momentum is None
    with pytest.raises(RecipeError, match="set momentum: null"):
        loss_of(o.CACRKeys(), batch())
