"""Alignment, uniformity, and their decoupled and kernel forms."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError

from embedkit.errors import DataError, RecipeError
from tests.objectives import options as o
from tests.objectives.batches import batch
from tests.objectives.helpers import gradients, leaves, loss_of


def test_uniformity_is_zero_where_all_texts_coincide() -> None:
    e = batch(n=6)
    same = replace(e, query=e.query[:1].expand_as(e.query), positive=e.query[:1, None].expand_as(e.positive))
    assert loss_of(o.AlignUniform(), same) == pytest.approx(0.0, abs=1e-12)
    assert loss_of(o.DecoupledUniformity(), same) == pytest.approx(0.0, abs=1e-12)
    assert loss_of(o.KCL(gamma=16.0), same) == pytest.approx(30.0)


def test_a_batch_without_a_pair_has_no_uniformity() -> None:
    e = leaves(replace(batch(n=4), query_id=torch.ones(4, dtype=torch.int64)))
    for config in (o.AlignUniform(align_weight=0), o.DecoupledUniformity()):
        loss = loss_of(config, e)
        assert float(loss.detach()) == 0 and not any(g.any() for g in gradients(loss, e).values())


def test_the_root_of_a_distance_has_a_gradient_at_zero() -> None:
    e = batch(n=4)
    e = leaves(replace(e, positive=e.query[:, None]))
    loss = loss_of(o.AlignUniform(alpha=1.0), e)
    assert all(bool(g.isfinite().all()) for g in gradients(loss, e).values())


def test_centres_keep_their_length() -> None:
    """Unlike views make short centres, which are near each other: that draws the views of a text together."""
    e = batch(n=6)
    alike, unlike = replace(e, positive=e.query[:, None]), replace(e, positive=-e.query[:, None] + 0.1)
    assert loss_of(o.DecoupledUniformity(), alike) < loss_of(o.DecoupledUniformity(), unlike) - 0.5


def test_they_say_what_they_need() -> None:
    assert o.AlignUniform(align_weight=0, of="query").roles() == {"query"}
    assert o.AlignUniform(of="query").roles() == {"query", "positive"}
    with pytest.raises(ValidationError, match="no loss"):
        o.AlignUniform(align_weight=0, uniform_weight=0)
    for config in (o.AlignUniform(), o.DecoupledUniformity(), o.KCL()):
        with pytest.raises(DataError, match="needs a positive"):
            loss_of(config, batch(p=0))
    with pytest.raises(DataError, match="cannot weight examples"):
        loss_of(o.AlignUniform(), batch(n=3, weight=torch.ones(3)))
    with pytest.raises(RecipeError, match="asks a guide"):
        loss_of(o.DecoupledUniformity(kernel="rbf"), batch())
    assert o.DecoupledUniformity(kernel="rbf").needs_guide and not o.DecoupledUniformity().needs_guide
