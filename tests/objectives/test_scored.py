"""The scored objectives against sentence-transformers and their stated properties."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from embedkit.errors import DataError
from embedkit.types import Embeddings
from tests.objectives import options as o
from tests.objectives.batches import WEIGHT, N, batch, graded, scores, tangled
from tests.objectives.helpers import answer, assert_same_loss, loss_of


def st_loss(name: str, **arguments: Any) -> Callable[[Embeddings, Tensor | None], Tensor]:
    from sentence_transformers.sentence_transformer import losses

    def compute(e: Embeddings, labels: Tensor | None) -> Tensor:
        columns = [e.query, *e.positive.unbind(1), *e.negative.unbind(1)]
        return getattr(losses, name)(nn.Identity(), **arguments).compute_loss_from_embeddings(columns, labels)

    return compute


def binary(t: Tensor) -> Tensor:
    """Scores that float32 holds exactly: one of the losses compared with casts to it."""
    return t.float().double()


@pytest.mark.parametrize("d", [8, 7])
@pytest.mark.parametrize(("config", "name"), [(o.CoSENT, "CoSENTLoss"), (o.AnglE, "AnglELoss")])
def test_rankings_equal_sentence_transformers(config: type[o.CoSENT | o.AnglE], name: str, d: int) -> None:
    theirs = st_loss(name, scale=13.0)
    e = batch(d=d, score=graded())
    assert_same_loss(lambda e: loss_of(config(scale=13.0), e), lambda e: theirs(e, e.score[:, 0]), e)


def test_cosine_mse_equals_sentence_transformers() -> None:
    def mse(cosine: torch.Tensor, score: torch.Tensor) -> torch.Tensor:
        """Theirs makes the scores float32, here 0 and 1; torch 2.7 has no gradient of a mean over two types."""
        return torch.nn.functional.mse_loss(cosine, score.to(cosine.dtype))

    theirs = st_loss("CosineSimilarityLoss", loss_fct=mse)
    e = batch(score=binary(scores(1)))
    assert_same_loss(lambda e: loss_of(o.CosineMSE(), e), lambda e: theirs(e, e.score), e)


@pytest.mark.parametrize(("distance", "margin"), [("euclidean", 1.0), ("cosine", 0.2)])
def test_triplet_equals_sentence_transformers(distance: str, margin: float) -> None:
    from sentence_transformers.sentence_transformer.losses import TripletDistanceMetric

    theirs = st_loss(
        "TripletLoss", distance_metric=getattr(TripletDistanceMetric, distance.upper()), triplet_margin=margin
    )
    config = o.Triplet(distance=distance, margin=margin)
    assert_same_loss(lambda e: loss_of(config, e), lambda e: theirs(e, None), batch(m=1))


@pytest.mark.parametrize("columns", ["scores", "margins"])
@pytest.mark.parametrize("m", [1, 3])
def test_margin_mse_equals_sentence_transformers(columns: str, m: int) -> None:
    theirs = st_loss("MarginMSELoss")
    e = batch(m=m, score=scores(m + (columns == "scores")))
    assert_same_loss(lambda e: loss_of(o.MarginMSE(), e), lambda e: theirs(e, e.score), e)


@pytest.mark.parametrize(("student", "teacher"), [(1.0, 1.0), (0.5, 2.0)])
def test_kl_equals_sentence_transformers_when_rescaled(student: float, teacher: float) -> None:
    theirs = st_loss("DistillKLDivLoss", student_temperature=student, teacher_temperature=teacher)
    config = o.KLDistillation(similarity="dot", temperature=student, teacher_temperature=teacher, rescale=True)
    e = batch(m=3, score=scores(4))
    assert_same_loss(lambda e: loss_of(config, e), lambda e: theirs(e, e.score), e)


def test_rescaling_is_a_factor_of_temperature_squared() -> None:
    e = batch(m=2, score=scores(3))
    plain = loss_of(o.KLDistillation(temperature=0.1), e)
    torch.testing.assert_close(loss_of(o.KLDistillation(temperature=0.1, rescale=True), e), 0.01 * plain)


@pytest.mark.parametrize("config", [o.CoSENT(), o.AnglE()])
def test_a_ranking_sees_only_the_order_of_scores(config: o.ObjectiveConfig) -> None:
    e = batch(score=graded())
    moved = replace(e, score=torch.exp(3 * e.score) - 7)
    torch.testing.assert_close(loss_of(config, moved), loss_of(config, e), rtol=0, atol=0)
    tied = replace(e, score=torch.ones(N, 1, dtype=torch.float64))
    assert float(loss_of(config, tied)) == 0


def test_a_collapsed_ranking_costs_log_of_one_plus_the_pairs() -> None:
    ones = torch.ones(N, 8, dtype=torch.float64)
    e = replace(batch(score=torch.arange(N).double()[:, None]), query=ones, positive=ones[:, None])
    assert float(loss_of(o.CoSENT(), e)) == pytest.approx(math.log(1 + N * (N - 1) / 2))


def test_distillation_is_zero_where_student_and_teacher_agree() -> None:
    e = batch(m=2)
    s = torch.einsum("nd,ncd->nc", e.query, torch.cat([e.positive, e.negative], 1))
    same, shifted = replace(e, score=s), replace(e, score=s + 5)
    for config in (o.MarginMSE(), o.KLDistillation(similarity="dot", temperature=1.0)):
        for right in (same, shifted):  # neither knows the teacher's offset
            assert float(loss_of(config, right)) == pytest.approx(0, abs=1e-12)
        assert float(loss_of(config, replace(e, score=s.flip(1)))) > 0.1


def test_a_satisfied_triplet_costs_nothing_and_a_collapsed_one_the_margin() -> None:
    e = batch(m=1)
    satisfied = replace(e, positive=e.query[:, None], negative=e.query[:, None] + 100)
    assert float(loss_of(o.Triplet(margin=5.0), satisfied)) == 0
    collapsed = replace(e, positive=e.query[:, None], negative=e.query[:, None])
    assert float(loss_of(o.Triplet(margin=5.0), collapsed)) == 5


@pytest.mark.parametrize("config", [o.Triplet(), o.MarginMSE(), o.KLDistillation()], ids=lambda c: c.name)
def test_a_row_without_negatives_has_no_weight(config: o.ObjectiveConfig) -> None:
    out = answer(config, tangled(batch(m=2, score=scores(3))))
    assert [i for i, w in enumerate(out.weight.tolist()) if w == 0] == [11]
    assert float(out.value[11]) == 0


def test_a_missing_teacher_score_may_be_anything() -> None:
    e = tangled(batch(m=2, score=scores(3)))
    missing = torch.nn.functional.pad(~e.negative_mask, (1, 0))
    unknown = replace(e, score=e.score.masked_fill(missing, torch.nan))
    for config in (o.MarginMSE(), o.KLDistillation()):
        assert_same_loss(
            lambda e, config=config: loss_of(config, replace(e, score=unknown.score)),
            lambda e, config=config: loss_of(config, e),
            e,
        )


@pytest.mark.parametrize(
    ("config", "e", "message"),
    [
        (o.CoSENT(), batch(), "score"),
        (o.CoSENT(), batch(p=2, score=scores(1)), "one positive"),
        (o.CoSENT(), batch(score=scores(1), weight=WEIGHT), "cannot weight"),
        (o.CosineMSE(), batch(score=scores(2)), "got 2"),
        (o.Triplet(), batch(), "explicit negatives"),
        (o.Triplet(), batch(p=0, m=1), "0 positives"),
        (o.MarginMSE(), batch(m=2, score=scores(1)), "3 or 2 score"),
        (o.KLDistillation(), batch(m=2, score=scores(2)), "needs 3 score"),
        (o.KLDistillation(), batch(p=2, m=2, score=scores(3)), "one positive"),
    ],
)
def test_unsuited_batches_are_refused(config: o.ObjectiveConfig, e: Embeddings, message: str) -> None:
    with pytest.raises(DataError, match=message):
        answer(config, e)


def test_tension_refuses_scores_that_are_no_probabilities() -> None:
    with pytest.raises(DataError, match=r"0\.\.1, got 0 to 5"):
        loss_of(o.ContrastiveTension(), batch(score=torch.tensor([[0.0], [5.0]] * 6).double()))
