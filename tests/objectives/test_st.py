"""The adapter: every sentence-transformers loss on embeddings gives what a direct call gives."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from sentence_transformers import util
from sentence_transformers.sentence_transformer import losses
from torch import nn

from embedkit.errors import DataError, RecipeError
from embedkit.objectives.base import build
from embedkit.objectives.st import available
from embedkit.types import Embeddings
from tests.objectives import options as o
from tests.objectives.batches import CLASSES, WEIGHT, N, batch, graded, guided, scores, tangled, third
from tests.objectives.helpers import assert_same_loss, loss_of

BOTH = torch.arange(N) % 2
PAIR, TRIPLE = ("query", "positive"), ("query", "positive", "negative")

DIRECT: dict[str, tuple[dict[str, Any], Embeddings, Any]] = {
    "AnglELoss": ({"target": "score"}, batch(score=graded()), "score"),
    "BatchAllTripletLoss": ({"inputs": ("query",), "target": "label"}, batch(label=CLASSES), "label"),
    "BatchHardSoftMarginTripletLoss": ({"inputs": ("query",), "target": "label"}, batch(label=CLASSES), "label"),
    "BatchHardTripletLoss": ({"inputs": ("query",), "target": "label"}, batch(label=CLASSES), "label"),
    "BatchSemiHardTripletLoss": ({"inputs": ("query",), "target": "label"}, batch(label=CLASSES), "label"),
    "CoSENTLoss": ({"target": "score"}, batch(score=graded()), "score"),
    "ContrastiveLoss": ({"target": "label"}, batch(label=BOTH), "label"),
    "CosineSimilarityLoss": ({"target": "score"}, batch(score=graded().float().double()), "score"),
    "DistillKLDivLoss": ({"inputs": TRIPLE, "target": "score"}, batch(m=2, score=scores(3)), "score"),
    "EmbedDistillLoss": ({"target": "score"}, batch(score=scores(8)), "teacher"),
    "GlobalOrthogonalRegularizationLoss": ({}, batch(), None),
    "MSELoss": ({"inputs": ("query",), "target": "score"}, batch(score=scores(8)), "teacher"),
    "MarginMSELoss": ({"inputs": TRIPLE, "target": "score"}, batch(m=2, score=scores(3)), "score"),
    "MultipleNegativesRankingLoss": ({"inputs": TRIPLE}, batch(m=2), None),
    "MultipleNegativesSymmetricRankingLoss": ({}, batch(), None),
    "OnlineContrastiveLoss": ({"target": "label"}, batch(label=BOTH), "label"),
    "TripletLoss": ({"inputs": TRIPLE}, batch(m=1), None),
}


def test_every_loss_on_embeddings_is_covered() -> None:
    assert set(DIRECT) == set(available())


def mean_of_two_types_has_a_gradient() -> bool:
    """torch 2.7 has none for the squared differences of float64 and float32."""
    x = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    try:
        torch.nn.functional.mse_loss(x, torch.zeros(1)).backward()
    except RuntimeError:
        return False
    return True


@pytest.mark.parametrize("name", sorted(DIRECT))
@pytest.mark.filterwarnings("ignore")
def test_equals_a_direct_call(name: str) -> None:
    if name == "CosineSimilarityLoss" and not mean_of_two_types_has_a_gradient():
        pytest.skip("it makes labels float32, and this torch cannot compare them with float64")
    options, e, target = DIRECT[name]
    config = o.STLoss(loss=name, **options)

    def direct(e: Embeddings) -> torch.Tensor:
        columns = [
            x for i in config.inputs for x in (e.query[:, None], e.positive, e.negative)[TRIPLE.index(i)].unbind(1)
        ]
        labels = {"score": e.score, "label": e.label, None: None, "teacher": [e.score] * len(columns)}[target]
        labels = labels[:, 0] if target == "score" and labels.shape[1] == 1 else labels
        out = getattr(losses, name)(nn.Identity()).compute_loss_from_embeddings(columns, labels)
        return torch.stack(list(out.values())).sum() if isinstance(out, dict) else out

    assert_same_loss(lambda e: loss_of(config, e), direct, e)


def test_a_guide_teaches_where_a_text_and_its_translation_lie() -> None:
    e = third(batch())

    def mean_of_both_parts(e: Embeddings) -> torch.Tensor:
        assert e.guide is not None
        target = e.guide.query.detach()
        return ((e.query - target).square().mean() + (e.positive[:, 0] - target).square().mean()) / 2

    config = o.STLoss(loss="MSELoss", target="guide")
    assert_same_loss(lambda e: loss_of(config, e), mean_of_both_parts, e)
    assert config.needs_guide and o.needs(config) == set(PAIR)


@pytest.mark.parametrize(
    ("loss", "e", "message"),
    [
        ("TripletLoss", third(batch()), "takes no teacher's embeddings.*EmbedDistillLoss, MSELoss"),
        ("MSELoss", batch(), "MSELoss asks a guide"),
        ("MSELoss", guided(batch()), "the guide's embeddings have 5 dimensions, the model's 8.*a base of 5"),
    ],
)
def test_a_guide_that_cannot_teach_is_refused(loss: str, e: Embeddings, message: str) -> None:
    with pytest.raises(RecipeError, match=f"(?s){message}"):
        loss_of(o.STLoss(loss=loss, target="guide"), e)


def test_functions_are_given_by_name() -> None:
    near = build(o.STLoss(loss="ContrastiveLoss", arguments={"distance_metric": "SiameseDistanceMetric.MANHATTAN"}))
    assert near.loss.distance_metric is losses.SiameseDistanceMetric.MANHATTAN
    dot = build(o.STLoss(loss="MultipleNegativesRankingLoss", arguments={"similarity_fct": "dot_score", "scale": 1.0}))
    assert dot.loss.similarity_fct is util.dot_score


def test_the_adapter_adds_no_parameters() -> None:
    assert not list(build(o.STLoss(loss="TripletLoss")).parameters())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss": "OnlineContrastivLoss"}, "did you mean OnlineContrastiveLoss.*available: AnglELoss, Batch"),
        ({"loss": "GISTEmbedLoss"}, "no loss 'GISTEmbedLoss' with compute_loss_from_embeddings"),
        ({"loss": "TripletLoss", "arguments": {"marign": 1}}, "it takes distance_metric, triplet_margin"),
        ({"loss": "MSELoss", "arguments": {"projection_dim": 4}}, "cannot be built"),
        ({"loss": "TripletLoss", "arguments": {"distance_metric": "cosinus"}}, "no function 'cosinus'"),
        ({"loss": "MultipleNegativesRankingLoss", "arguments": {"scale": 0.0}}, "positive"),
        ({"loss": "MultipleNegativesRankingLoss", "arguments": {"gather_across_devices": True}}, "gather twice"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=f"(?s){message}"):
        build(o.STLoss(**options))


@pytest.mark.parametrize(
    ("options", "e", "message"),
    [
        ({"loss": "TripletLoss", "inputs": TRIPLE}, tangled(batch(m=1)), "lack one"),
        ({"loss": "TripletLoss", "inputs": TRIPLE}, batch(), "lack one"),
        ({"loss": "TripletLoss"}, batch(p=2), "one positive"),
        ({"loss": "ContrastiveLoss", "target": "label"}, batch(), "needs a label"),
        ({"loss": "CoSENTLoss", "target": "score"}, batch(score=scores(2)), "refuses the batch"),
        ({"loss": "TripletLoss"}, replace(batch(), weight=WEIGHT), "cannot weight"),
    ],
)
def test_unsuited_batches_are_refused(options: dict[str, Any], e: Embeddings, message: str) -> None:
    with pytest.raises(DataError, match=message):
        loss_of(o.STLoss(**options), e)


def test_the_roles_it_needs_follow_from_its_inputs() -> None:
    assert o.needs(o.STLoss(loss="BatchHardTripletLoss", inputs=("query",), target="label")) == {"query", "label"}
    assert o.needs(o.STLoss(loss="TripletLoss", inputs=TRIPLE)) == set(TRIPLE)
