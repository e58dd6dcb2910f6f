"""SepCLR: its parts, and what it refuses."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from embedkit.errors import DataError, RecipeError
from embedkit.objectives.sepclr import SepCLR
from tests.objectives import options as o
from tests.objectives.batches import WEIGHT, N, batch
from tests.objectives.helpers import loss_of, make

BOTH = torch.arange(N) % 2


def parts(e: object, **options: object) -> dict[str, torch.Tensor]:
    objective = make(o.SepCLR(salient=3, **options))
    assert isinstance(objective, SepCLR)
    return objective.parts(e)  # type: ignore[arg-type]


def test_the_background_says_nothing_in_the_salient_part() -> None:
    e = batch(label=BOTH)
    zero = e.query.clone()
    zero[BOTH == 0, -3:] = 0
    same = replace(e, query=zero, positive=zero[:, None])
    found = parts(same)
    assert float(found["infoless"]) == 0
    louder = replace(e, query=torch.where((BOTH == 0)[:, None], 2 * zero, zero))
    assert float(parts(louder)["salient"]) == pytest.approx(float(parts(replace(e, query=zero))["salient"]))


def test_a_kind_that_is_missing_has_no_term() -> None:
    e = batch(label=torch.zeros(N, dtype=torch.int64))
    found = parts(e)
    assert float(found["salient"]) == 0  # all coincide at 0, none is aligned
    assert float(found["infoless"]) > 0
    assert float(parts(replace(e, label=torch.ones(N, dtype=torch.int64)))["infoless"]) == 0


def test_it_says_what_it_needs() -> None:
    for e, error, message in (
        (batch(), DataError, "needs labels"),
        (batch(label=torch.arange(N)), DataError, r"knows labels 0 \(background\) and 1 \(target\), got 11"),
        (batch(p=2, label=BOTH), DataError, "exactly one positive"),
        (batch(m=1, label=BOTH), DataError, "no place for explicit negatives"),
        (batch(label=BOTH, weight=WEIGHT), DataError, "cannot weight examples"),
    ):
        with pytest.raises(error, match=message):
            loss_of(o.SepCLR(salient=3), e)
    with pytest.raises(RecipeError, match="8 salient coordinates of 8 leave none"):
        loss_of(o.SepCLR(salient=8), batch(label=BOTH))
