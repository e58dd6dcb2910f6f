"""The contrastive learning penalty."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn.functional import cosine_similarity

from embedkit.errors import DataError
from tests.objectives import options as o
from tests.objectives.batches import batch, infonce, tangled
from tests.objectives.helpers import answer, assert_same_loss, gradients, leaves, loss_of


def texts(e: o.Embeddings) -> o.Embeddings:
    """The batch without the queries of its negatives."""
    fields = ("negative", "negative_mask", "negative_id")
    return replace(e, **{f: getattr(e, f)[:, ::2] for f in fields})


def test_without_penalty_it_is_infonce_on_the_texts() -> None:
    e = tangled(batch(m=4))
    assert_same_loss(
        lambda x: loss_of(o.CLP(temperature=0.1, penalty=0.0), x), lambda x: loss_of(infonce(), texts(x)), e
    )


def test_the_penalty_alone_is_the_distance_to_the_own_queries() -> None:
    e = leaves(batch(m=4))
    loss = loss_of(o.CLP(penalty=1.0), e)
    distance = 1 - cosine_similarity(e.negative[:, ::2], e.negative[:, 1::2], dim=2)
    torch.testing.assert_close(loss, distance.mean())
    assert not gradients(loss, e)["query"].any()


def test_the_queries_of_negatives_are_candidates_of_no_one() -> None:
    e = leaves(batch(m=2))
    found = gradients(loss_of(o.CLP(temperature=0.1, penalty=0.0), e), e)["negative"]
    assert bool(found[:, 0].any()) and not found[:, 1].any()
    assert float(answer(o.CLP(), e).metrics["negatives"]) == 11 + 12


@pytest.mark.parametrize("m", [0, 1, 3])
def test_negatives_come_in_twos(m: int) -> None:
    with pytest.raises(DataError, match=f"has {m} per row"):
        answer(o.CLP(), batch(m=m))
