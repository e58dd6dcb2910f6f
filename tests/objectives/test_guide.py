"""A guide model beside InfoNCE: what it masks, and what it is not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from embedkit.errors import RecipeError
from embedkit.types import Embeddings
from tests.objectives import options as o
from tests.objectives.batches import batch, guided, infonce
from tests.objectives.helpers import answer, assert_same_loss, leaves, loss_of


def same_texts(e: Embeddings) -> Embeddings:
    """As unlabelled text: every positive is its query's text, and the guide embeds both alike."""
    assert e.guide is not None
    ids = e.query_id[:, None].expand_as(e.positive_id)
    guide = replace(e.guide, positive=e.guide.query[:, None].expand_as(e.guide.positive))
    return replace(e, positive_id=ids, guide=guide)


@pytest.mark.parametrize("rule", ["absolute", "relative"])
def test_a_guide_that_sees_one_text_twice_masks_neither_the_positive_nor_keeps_the_text_itself(rule: str) -> None:
    """Query and positive are one text: the pair's cosine is 1 up to rounding, and nothing is more similar."""
    options: dict[str, Any] = {"directions": ("q-d", "q-q", "d-d"), "same_side": "positives"}
    e = same_texts(guided(batch()))
    assert_same_loss(lambda e: loss_of(infonce(guide=rule, **options), e), lambda e: loss_of(infonce(**options), e), e)


def test_the_guide_s_dimension_is_its_own_and_prefixes_keep_it_whole() -> None:
    e = guided(batch())
    nested = o.Matryoshka(objective=infonce(guide="absolute"), dims=(3,))
    assert_same_loss(
        lambda e: loss_of(nested, e),
        lambda e: loss_of(infonce(guide="absolute"), replace(e.truncate(3), guide=e.guide)),
        e,
    )


def test_a_guide_changes_the_candidates_and_gets_no_gradient() -> None:
    e = leaves(guided(batch()))
    assert e.guide is not None
    seen = replace(e.guide, query=e.guide.query.detach().requires_grad_())
    loss = loss_of(infonce(guide="threshold", guide_margin=0.5), replace(e, guide=seen))
    assert torch.autograd.grad(loss, seen.query, allow_unused=True) == (None,)
    out = answer(infonce(guide="threshold", guide_margin=0.5), e)
    assert float(out.metrics["masked"]) > 0


def test_an_absent_guide_is_named() -> None:
    for config in (infonce(guide="absolute"), o.DCLR()):
        assert config.needs_guide
        with pytest.raises(RecipeError, match="guide"):
            loss_of(config, batch())
    assert not infonce().needs_guide
    with pytest.raises(ValidationError, match="guide_margin has no effect"):
        infonce(guide_margin=0.1)
