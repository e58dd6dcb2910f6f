"""Soft targets of InfoNCE."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from embedkit.errors import DataError
from embedkit.objectives.logits import unit
from embedkit.types import Embeddings
from tests.objectives.batches import batch, infonce, scores, tangled
from tests.objectives.helpers import assert_same_loss, loss_of


def test_a_score_of_one_is_the_hard_target() -> None:
    e = tangled(batch(m=1, score=torch.ones(12, 1).double()))
    for soft in ("positive", "all"):
        assert_same_loss(
            lambda e, soft=soft: loss_of(infonce(soft_targets=soft), e), lambda e: loss_of(infonce(), e), e
        )


def test_smooth_all_is_the_cross_entropy_against_the_smoothed_row() -> None:
    """CLHAIF: s on the own positive, (1 - s) / (2 N - 1) on every other column."""
    e = batch(m=1, score=scores(1))

    def plain(e: Embeddings) -> Tensor:
        assert e.score is not None
        documents = torch.cat([e.positive[:, 0], e.negative[:, 0]])
        log_p = (unit(e.query) @ unit(documents).T / 0.1).log_softmax(1)
        n, columns = log_p.shape
        target = ((1 - e.score) / (columns - 1)).expand(n, columns).clone()
        target[torch.arange(n), torch.arange(n)] = e.score[:, 0]
        return -(target * log_p).sum(1).mean()

    assert_same_loss(lambda e: loss_of(infonce(soft_targets="all"), e), plain, e)


def test_soft_targets_need_scores() -> None:
    assert infonce(soft_targets="all").roles() == {"query", "positive", "score"}
    assert infonce().roles() == {"query", "positive"}
    with pytest.raises(DataError, match="score"):
        loss_of(infonce(soft_targets="positive"), batch())
