"""Symmetric KL and partial rank distillation."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from embedkit.errors import DataError
from tests.objectives import options as o
from tests.objectives.batches import batch, infonce, scores, tangled
from tests.objectives.helpers import answer, assert_same_loss, gradients, leaves, loss_of


def taught(m: int = 3, scale: float = 1.0) -> o.Embeddings:
    return batch(m=m, score=scale * scores(1 + m))


def test_a_student_that_agrees_has_no_loss() -> None:
    e = taught()
    cosine = torch.nn.functional.cosine_similarity
    own = torch.cat([cosine(e.query[:, None], e.positive, dim=2), cosine(e.query[:, None], e.negative, dim=2)], 1)
    e = leaves(replace(e, score=own))
    loss = loss_of(o.SymmetricKL(temperature=0.1, epsilon=0.0), e)
    assert abs(float(loss.detach())) < 1e-15
    assert float(gradients(loss, e)["query"].abs().max()) < 1e-12


def test_it_is_the_mean_of_both_divergences() -> None:
    e = taught()
    there = loss_of(o.KLDistillation(temperature=0.1, teacher_temperature=0.1), e)
    both = loss_of(o.SymmetricKL(temperature=0.1, epsilon=0.0), e)
    q = torch.nn.functional.normalize(e.query, dim=1)[:, None]
    d = torch.nn.functional.normalize(torch.cat([e.positive, e.negative], 1), dim=2)
    p, t = ((q * d).sum(2) / 0.1).log_softmax(1), (e.score / 0.1).log_softmax(1)
    back = (p.exp() * (p - t)).sum(1).mean()
    torch.testing.assert_close(both, (there + back) / 2)


def test_epsilon_bounds_the_loss_where_the_judge_is_certain() -> None:
    e = taught(scale=100.0)  # the softmax of the scores is one-hot
    bound = -torch.log(torch.tensor(1e-8)).item()
    assert float(loss_of(o.SymmetricKL(), e)) < bound < float(loss_of(o.SymmetricKL(epsilon=0.0), e))


@pytest.mark.parametrize("top", [1, None])
def test_an_order_of_the_positive_alone_is_infonce(top: int | None) -> None:
    """The positive first and all negatives tied: one term, unless the tied ones are ranked against the batch too."""
    score = torch.cat([torch.ones(12, 1), torch.zeros(12, 3)], 1).double()
    e = replace(taught(), score=score)
    config = o.PartialRank(temperature=0.1, top=top)
    if top == 1:
        assert_same_loss(lambda x: loss_of(config, x), lambda x: loss_of(infonce(), x), e)
    else:
        assert float(loss_of(config, e)) != pytest.approx(float(loss_of(infonce(), e)))


def test_only_the_order_of_the_teacher_matters() -> None:
    e = tangled(taught())
    config = o.PartialRank(temperature=0.2, top=2)
    moved = replace(e, score=(5 * e.score) ** 3 - 7)
    torch.testing.assert_close(loss_of(config, moved), loss_of(config, e), rtol=0, atol=0)
    turned = replace(e, score=-e.score)
    assert float(loss_of(config, turned)) != pytest.approx(float(loss_of(config, e)))


def test_training_on_it_gives_the_teachers_order() -> None:
    e = taught()
    config = o.PartialRank(temperature=0.1)
    free = leaves(e)
    optimiser = torch.optim.Adam([free.query, free.positive, free.negative], lr=0.1)
    before = float(answer(config, e).metrics["order_agreement"])
    for _ in range(150):
        optimiser.zero_grad()
        loss_of(config, free).backward()
        optimiser.step()
    after = float(answer(config, free).metrics["order_agreement"])
    assert before < 0.7 < 0.9 < after


def test_a_scored_text_is_not_easy_elsewhere() -> None:
    """Row 1's positive is row 0's best negative: in row 0 it counts once, at its place."""
    e = batch(n=2, m=1, score=torch.tensor([[0.0, 1.0], [1.0, 0.0]]).double())
    e = replace(e, negative_id=torch.stack([e.positive_id[1], e.negative_id[1]]))
    e = leaves(replace(e, negative=torch.stack([e.positive[1], e.negative[1]])))
    out = answer(o.PartialRank(top=1, order="given"), e)
    assert not gradients(out.value[0], e)["positive"][1].any()


def test_it_needs_a_score_per_candidate() -> None:
    with pytest.raises(DataError, match="4 score"):
        answer(o.PartialRank(), batch(m=3, score=scores(1)))
