"""Dynamic contrastive distillation: whose rows count, and when it is one of its terms."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from embedkit.errors import DataError
from embedkit.objectives.dcd import entropy_shares
from tests.objectives import options as o
from tests.objectives.batches import batch, scores
from tests.objectives.helpers import answer, assert_same_loss, loss_of


def test_the_ends_of_alpha_are_the_two_terms() -> None:
    e = batch(m=2, score=scores(3))
    far = o.DCD(weights="hard", alpha=1.0)
    assert_same_loss(lambda x: loss_of(far, x), lambda x: loss_of(o.ScoreMSE(), x), e)
    equal = replace(e, score=torch.ones_like(e.score))  # the teacher is as unsure of every row
    near, plain = o.DCD(alpha=0.0), o.BCE(reduction="mean")
    assert_same_loss(lambda x: loss_of(near, x), lambda x: loss_of(plain, replace(x, score=None)), equal)


def test_labels_count_where_the_teacher_is_unsure() -> None:
    teacher = torch.tensor([[0.0, 0.0, 0.0], [9.0, 0.0, 0.0], [4.0, 0.0, 0.0]])
    shares = entropy_shares(teacher, torch.ones(3, 3, dtype=torch.bool))
    assert shares.sum() == pytest.approx(1) and shares[0] > shares[2] > shares[1]
    sure = torch.tensor([[900.0, 0.0, 0.0]] * 2)
    torch.testing.assert_close(entropy_shares(sure, torch.ones(2, 3, dtype=torch.bool)), torch.full((2,), 0.5))


def test_a_row_without_negatives_has_no_share() -> None:
    e = batch(m=2, score=scores(3))
    mask = e.negative_mask.clone()
    mask[4] = False
    out = answer(o.DCD(), replace(e, negative_mask=mask))
    assert out.weight is not None and out.weight[4] == 0
    assert out.value.isfinite().all()


def test_it_needs_a_score_for_every_candidate() -> None:
    with pytest.raises(DataError, match="dcd"):
        answer(o.DCD(), batch(m=2, score=scores(1)))
