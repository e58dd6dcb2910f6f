"""The trained model against a frozen guide: Three Towers."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from embedkit.errors import RecipeError
from embedkit.recipe.objectives.guided import GuidePair
from embedkit.recipe.objectives.wrappers import Sum
from embedkit.types import Embeddings
from tests.objectives.batches import batch, guided, infonce, third
from tests.objectives.helpers import assert_same_loss, loss_of

BOTH = infonce(temperature=0.1, directions=("q-d", "d-q"), partition="per_direction")


def towers() -> Sum:
    """Three Towers as a recipe writes it."""
    terms = [BOTH, GuidePair(objective=BOTH, of="query"), GuidePair(objective=BOTH, of="positive")]
    return Sum.model_validate({"terms": [{"weight": 1 / 3, "objective": term} for term in terms]})


def normal(seed: int, *shape: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


def test_three_towers_of_the_reference() -> None:
    """f, g and h as the entry `three_towers_0` draws them; its value is from the formula (secondary)."""
    f = normal(6411, 5, 5)
    g, h = f + 0.9 * normal(6412, 5, 5), f + 0.9 * normal(6413, 5, 5)
    f, g, h = (torch.nn.functional.normalize(x, dim=1) for x in (f, g, h))
    e = replace(batch(n=5, d=5), query=f, positive=g[:, None])
    e = replace(e, guide=replace(e, query=h, positive=h[:, None]))
    assert float(loss_of(towers(), e)) == pytest.approx(0.673990479981675, rel=1e-12)


@pytest.mark.parametrize("of", ["query", "positive"])
@pytest.mark.parametrize("to", ["query", "positive"])
def test_it_is_the_objective_on_the_guides_vectors(
    of: Literal["query", "positive"], to: Literal["query", "positive"]
) -> None:
    def by_hand(e: Embeddings) -> Tensor:
        assert e.guide is not None
        own = e.query if of == "query" else e.positive[:, 0]
        frozen = e.guide.query if to == "query" else e.guide.positive[:, 0]
        negative = e.guide.negative if to == "positive" else e.guide.negative[:, :0]
        mask = e.negative_mask[:, : negative.shape[1]]
        ids = e.negative_id[:, : negative.shape[1]]
        pairs = replace(e, query=own, positive=frozen[:, None], negative=negative, negative_mask=mask, negative_id=ids)
        return loss_of(BOTH, replace(pairs, guide=None))

    assert_same_loss(lambda e: loss_of(GuidePair(objective=BOTH, of=of, to=to), e), by_hand, third(batch(m=2)))


def test_a_text_that_matches_is_no_negative_on_either_side() -> None:
    e = third(batch())
    same = e.positive_id.clone()
    same[1] = same[0]
    repeated, pair = replace(e, positive_id=same), GuidePair(objective=BOTH, of="positive")
    assert not torch.isclose(loss_of(pair, e), loss_of(pair, repeated))


def test_what_does_not_fit() -> None:
    with pytest.raises(RecipeError, match="asks a guide"):
        loss_of(GuidePair(objective=BOTH), batch())
    with pytest.raises(RecipeError, match=r"guide's vectors have 5 numbers and the trained ones 8(.|\n)*head of 5"):
        loss_of(GuidePair(objective=BOTH), guided(batch()))
    with pytest.raises(ValidationError, match="inner objective asks it too"):
        GuidePair(objective=infonce(guide="absolute"))


def test_check_asks_for_the_guide_inside_a_sum() -> None:
    from embedkit.recipe.plan import plan
    from embedkit.recipe.schema import Recipe

    rows = [{"query": f"q {i}", "positive": f"p {i}"} for i in range(4)]
    asked = {"data": {"sources": [{"rows": rows}]}, "train": {"batch_size": 2}}
    asked["objective"] = towers().model_dump(mode="json")
    with pytest.raises(RecipeError, match="asks a guide"):
        plan(Recipe.model_validate(asked)).refuse()
    made = plan(Recipe.model_validate({**asked, "guide": {"model": "x"}}))
    assert not made.refusals and not any("costs a pass" in w.what for w in made.warnings)
