"""One side moved onto the other."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError
from torch.nn import functional

from embedkit.errors import DataError
from embedkit.objectives.shifting import language_vector, shifted
from embedkit.types import Embeddings
from tests.objectives import options as o
from tests.objectives.batches import WEIGHT, batch, infonce
from tests.objectives.helpers import assert_same_loss, loss_of

DOT = infonce(temperature=0.3, similarity="dot")


def moved(e: Embeddings) -> Embeddings:
    """The batch moved by hand, row by row."""
    query, positive, negative = (functional.normalize(v, dim=-1) for v in (e.query, e.positive, e.negative))
    step = query.sum(0) / len(e) - positive.flatten(0, 1).sum(0) / positive[..., 0].numel()
    rows = [
        torch.stack([(n + step) * there for n, there in zip(row, mask, strict=True)]) if len(row) else row
        for row, mask in zip(negative, e.negative_mask, strict=True)
    ]
    negative = torch.stack(rows)
    return replace(e, query=query, positive=positive + step, negative=negative)


@pytest.mark.parametrize("shape", [{"m": 2, "weight": WEIGHT}, {"p": 2}])
def test_it_is_the_inner_objective_on_moved_vectors(shape: dict[str, object]) -> None:
    assert_same_loss(lambda e: loss_of(o.MeanShift(objective=DOT), e), lambda e: loss_of(DOT, moved(e)), batch(**shape))


def test_where_a_language_lies_costs_nothing() -> None:
    e = batch()
    unit = functional.normalize(e.positive, dim=-1)
    far = replace(e, positive=functional.normalize(unit, dim=-1))
    once = loss_of(o.MeanShift(objective=DOT), far)
    there = shifted(unit[:, 0], language_vector(unit[:, 0]), language_vector(e.query))
    assert torch.allclose(there.mean(0), language_vector(e.query))
    again = replace(far, query=functional.normalize(e.query, dim=-1))
    assert torch.allclose(once, loss_of(o.MeanShift(objective=DOT), again))


def test_what_normalises_again_and_one_row_are_refused() -> None:
    with pytest.raises(ValidationError, match="normalises again"):
        o.MeanShift(objective=infonce())
    with pytest.raises(DataError, match="has 1 row"):
        loss_of(o.MeanShift(objective=DOT), batch(n=1))
