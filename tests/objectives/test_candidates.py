"""The ranking losses against sentence-transformers' own, on equal scores, and what they refuse."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from sentence_transformers.cross_encoder import CrossEncoder, losses
from torch import Tensor, nn

from embedkit.errors import DataError
from embedkit.types import PAD_ID, Embeddings
from tests.objectives import options as o
from tests.objectives.batches import Case, batch
from tests.objectives.helpers import average, make

N, M = 5, 4
GRADES = torch.tensor([[2, 0, 1, 0, 0], [1, 0, 0, 1, 2], [1, 1, 0, 0, 0], [2, 1, 0, 0, 1], [0, 2, 1, 2, 0]]).double()
EXISTS = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 1], [1, 0, 0, 0], [1, 1, 0, 1], [1, 0, 1, 1]]).bool()


class Table(CrossEncoder):
    """A model for sentence-transformers' losses: the scores of pairs of numbers, from a table."""

    num_labels = 1
    device = torch.device("cpu")

    def __init__(self, scores: Tensor) -> None:
        nn.Module.__init__(self)
        self.scores = scores

    def preprocess(self, pairs: list[tuple[int, int]], **_: Any) -> dict[str, Tensor]:
        return {"place": torch.tensor(pairs)}

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"scores": self.scores[features["place"][:, 0], features["place"][:, 1]][:, None]}


def table(seed: int = 0) -> Tensor:
    return torch.randn(N, 1 + M, generator=torch.Generator().manual_seed(seed)).requires_grad_()


def scored(scores: Tensor, exists: Tensor | None = None, score: Tensor | None = None) -> Embeddings:
    """The batch of a reranker with these scores [N, 1 + M]."""
    n, m = scores.shape[0], scores.shape[1] - 1
    mask = torch.ones(n, m, dtype=torch.bool) if exists is None else exists
    return Embeddings(
        query=scores.new_zeros(n, 1),
        positive=scores[:, :1, None],
        negative=scores[:, 1:, None],
        negative_mask=mask,
        query_id=torch.arange(1, n + 1),
        positive_id=torch.full((n, 1), 7),
        negative_id=torch.where(mask, 8, PAD_ID),
        known_id=torch.full((n, 1), PAD_ID),
        score=score,
        paired=True,
    )


def lists(exists: Tensor, grades: Tensor) -> tuple[list[list[Any]], list[Tensor]]:
    """Queries with ragged lists of documents, and their grades, as sentence-transformers takes them."""
    kept = [[0, *(1 + j for j in range(M) if exists[i, j])] for i in range(N)]
    return [list(range(N)), kept], [grades[i, columns] for i, columns in enumerate(kept)]


def compare(ours: Tensor, theirs: Tensor, scores: Tensor, factor: float = 1.0) -> None:
    torch.testing.assert_close(ours, theirs * factor, rtol=1e-5, atol=1e-6, check_dtype=False)
    mine, other = (torch.autograd.grad(x, scores, retain_graph=True)[0] for x in (ours, theirs))
    assert mine.abs().sum() > 0
    torch.testing.assert_close(mine, other * factor, rtol=1e-4, atol=1e-6)


SCHEMES = {
    "ndcg2++": losses.NDCGLoss2PPScheme(mu=5.0),
    "ndcg2": losses.NDCGLoss2Scheme(),
    "lambdarank": losses.LambdaRankScheme(),
}


@pytest.mark.parametrize("top", [None, 2])
@pytest.mark.parametrize("scheme", sorted(SCHEMES))
def test_lambda_loss_is_that_of_sentence_transformers(scheme: Any, top: int | None) -> None:
    scores = table()
    theirs = losses.LambdaLoss(Table(scores), SCHEMES[scheme], k=top, reduction_log="natural")
    ours = make(o.LambdaLoss(weights=scheme, mu=5.0, top=top))
    got = average(ours, scored(scores, EXISTS, GRADES))
    compare(got, theirs(*lists(EXISTS, GRADES)), scores)


@pytest.mark.parametrize("top", [None, 2])
def test_ranknet_is_that_of_sentence_transformers_but_for_the_base_of_its_logarithm(top: int | None) -> None:
    scores = table(1)
    theirs = losses.RankNetLoss(Table(scores), k=top)
    got = average(make(o.RankNet(top=top)), scored(scores, EXISTS, GRADES))
    compare(got, theirs(*lists(EXISTS, GRADES)), scores, factor=math.log(2))


def test_listnet_is_that_of_sentence_transformers() -> None:
    scores = table(2)
    got = average(make(o.ListNet()), scored(scores, EXISTS, GRADES))
    compare(got, losses.ListNetLoss(Table(scores))(*lists(EXISTS, GRADES)), scores)


@pytest.mark.parametrize("weight", [None, 4.0])
def test_bce_is_that_of_sentence_transformers(weight: float | None) -> None:
    scores = table(3)
    grades = (GRADES > 0).double()
    pairs = [list(range(N)) * (1 + M), [j for j in range(1 + M) for _ in range(N)]]
    theirs = losses.BinaryCrossEntropyLoss(Table(scores), pos_weight=None if weight is None else torch.tensor(weight))
    got = average(make(o.BCE(reduction="mean", positive_weight=weight or 1.0)), scored(scores, score=grades))
    compare(got, theirs(pairs, grades.T.flatten()), scores)
    summed = average(make(o.BCE(reduction="sum", positive_weight=weight or 1.0)), scored(scores, score=grades))
    torch.testing.assert_close(summed, got * (1 + M))


def test_lce_is_their_ranking_loss_on_the_own_candidates() -> None:
    scores = table(4)
    theirs = losses.MultipleNegativesRankingLoss(Table(scores), scale=2.0, activation_fn=None)
    compare(average(make(o.LCE(temperature=0.5)), scored(scores)), theirs.calculate_loss(list(scores.T), N), scores)


def test_the_mean_squared_errors_are_those_of_sentence_transformers() -> None:
    scores, teacher = table(5), table(6).detach()
    pairs = [list(range(N)) * (1 + M), [j for j in range(1 + M) for _ in range(N)]]
    got = average(make(o.ScoreMSE()), scored(scores, score=teacher))
    compare(got, losses.MSELoss(Table(scores), activation_fn=nn.Identity())(pairs, teacher.T.flatten()), scores)
    columns = [list(range(N)), *([j] * N for j in range(1 + M))]
    got = average(make(o.MarginMSE()), scored(scores, score=teacher))
    theirs = losses.MarginMSELoss(Table(scores), activation_fn=nn.Identity())
    compare(got, theirs(columns, list(teacher)), scores)


def test_kl_and_listnet_of_one_teacher_have_one_gradient() -> None:
    scores, teacher = table(7), table(8).detach()
    e = scored(scores, EXISTS, teacher)
    losses_ = [average(make(c), e) for c in (o.KLDistillation(temperature=1.0), o.ListNet())]
    first, second = (torch.autograd.grad(x, scores, retain_graph=True)[0] for x in losses_)
    torch.testing.assert_close(first, second)
    assert losses_[0] < losses_[1]


@pytest.mark.parametrize(
    ("config", "score", "says"),
    [
        (o.BCE(reduction="sum"), GRADES, "grades in 0..1, got 0 to 2"),
        (o.LambdaLoss(), GRADES - 1, "got -1 to 1"),
        (o.LambdaLoss(), 50 * GRADES, "got 0 to 100"),
        (o.MarginRanking(), None, "5 score(s) per example, got none"),
        (o.ScoreMSE(), GRADES[:, :3], "5 score(s) per example, got 3"),
    ],
)
def test_grades_that_a_loss_cannot_use_are_refused(config: Any, score: Tensor | None, says: str) -> None:
    with pytest.raises(DataError) as caught:
        average(make(config), scored(table(), score=score))
    assert says in caught.value.what and caught.value.cure


def test_a_batch_without_negatives_is_refused_where_they_are_needed() -> None:
    e = batch()
    for config in (o.LCE(), o.ListNet(), o.RankNet(), o.LambdaLoss()):
        with pytest.raises(DataError, match="needs explicit negatives"):
            average(make(config), e)


def test_a_margin_needs_no_file_in_order() -> None:
    scores = table(9).detach()
    order = torch.tensor([0, 3, 1, 4, 2])
    grades = torch.tensor([[9.0, 5.0, 4.0, 3.0, 2.0]]).expand(N, -1)
    config = o.MarginRanking(margin=0.3)
    mixed = average(make(config), scored(scores[:, order], score=grades[:, order]))
    torch.testing.assert_close(mixed, average(make(config), scored(scores, score=grades)))


def test_equal_grades_make_no_pair() -> None:
    """All candidates alike: only the reference is left."""
    scores = torch.tensor([[0.0, 1.0, 3.0]])
    config = o.MarginRanking(margin=0.5, reference_weight=2.0)
    grades = torch.tensor([[1.0, 0.0, 0.0]])
    assert float(average(make(config), scored(scores, score=grades))) == pytest.approx(2.0 * (1 + 3) / 2)


def test_what_a_pair_costs_does_not_depend_on_how_long_other_lists_are() -> None:
    """A pair of a long list and one of a short list have one weight in RankNet's mean."""
    scores = torch.tensor([[0.0, 1.0, 2.0, 3.0], [0.0, 1.0, 0.0, 0.0]])
    exists = torch.tensor([[1, 1, 1], [1, 0, 0]]).bool()
    got = average(make(o.RankNet()), scored(scores, exists))
    wanted = torch.nn.functional.softplus(torch.tensor([1.0, 2.0, 3.0, 1.0])).mean()
    torch.testing.assert_close(got, wanted)


def test_weights_of_examples_count() -> None:
    case = Case(o.LCE(temperature=0.3), batch(m=2))
    weight = torch.tensor([1.0, 3.0] + [0.0] * 10, dtype=torch.float64)
    rows = make(case.config)(case.batch, torch.arange(12)).value
    got = average(make(case.config), replace(case.batch, weight=weight))
    torch.testing.assert_close(got, (rows[0] + 3 * rows[1]) / 4)
