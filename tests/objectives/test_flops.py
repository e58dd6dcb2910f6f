"""The FLOPS term."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from embedkit.errors import DataError
from embedkit.objectives.flops import flops
from tests.objectives import options as o
from tests.objectives.batches import batch
from tests.objectives.helpers import answer, loss_of


def test_it_is_the_regulariser_of_sentence_transformers_on_activations() -> None:
    from sentence_transformers.sparse_encoder.losses import FlopsLoss

    e = batch(p=1, m=2)
    e = replace(e, query=e.query.relu(), positive=e.positive.relu(), negative=e.negative.relu())
    theirs = FlopsLoss(model=None).compute_loss_from_embeddings
    documents = torch.cat([e.positive[:, 0], e.negative[:, 0], e.negative[:, 1]])
    want = 0.3 * theirs(e.query) + 0.7 * theirs(documents)
    torch.testing.assert_close(loss_of(o.Flops(query=0.3, document=0.7), e), want)


def test_coordinates_that_few_texts_share_cost_less() -> None:
    together = torch.tensor([[2.0, 0.0], [2.0, 0.0]])
    apart = torch.tensor([[2.0, 0.0], [0.0, 2.0]])
    assert float(flops(together)) == 4.0 and float(flops(apart)) == 2.0
    assert float(flops(-apart)) == 2.0


def test_a_weight_of_two_is_a_text_twice() -> None:
    x = batch().query
    weight = torch.ones(12).double()
    weight[3] = 2
    torch.testing.assert_close(flops(x, weight), flops(torch.cat([x, x[3:4]])), rtol=1e-12, atol=0)


def test_the_factor_grows_with_the_square_of_the_step() -> None:
    e, config = batch(), o.Flops(query=1.0, document=1.0, warmup=10)
    whole = float(loss_of(o.Flops(query=1.0, document=1.0), e))
    shares = [float(loss_of(config, replace(e, step=step))) / whole for step in (0, 5, 10, 400)]
    assert shares == pytest.approx([0.0, 0.25, 1.0, 1.0])


def test_it_says_how_many_coordinates_are_active() -> None:
    e = batch(d=4)
    query = e.query.clone()
    query[:6, :3] = 0
    found = answer(o.Flops(), replace(e, query=query)).metrics
    assert float(found["active_query"]) == 2.5 and float(found["active_document"]) == 4
    assert set(answer(o.Flops(document=0), e).metrics) == {"flops_query", "active_query"}


def test_texts_alone_have_no_documents() -> None:
    with pytest.raises(DataError, match="no documents to keep sparse"):
        answer(o.Flops(), batch(p=0))
