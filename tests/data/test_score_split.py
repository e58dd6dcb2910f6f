"""Scored candidates as positives and negatives, groups that rotate, and sources that come more often."""

from __future__ import annotations

import numpy as np
import pytest

from embedkit.data.sampler import StepSampler
from embedkit.data.score_split import score_split, split_source
from embedkit.data.sources import load_source
from embedkit.data.views import expand, rotated
from embedkit.errors import DataError
from embedkit.recipe.data import Source
from embedkit.recipe.plan import plan
from embedkit.recipe.schema import Recipe
from embedkit.recipe.score_split import ScoreSplit
from embedkit.types import Example

ROWS = (
    {"query": "q0", "positive": "a", "negative": ["b", "c", "d"], "score": [0.1, 0.9, -0.5, 0.4]},
    {"query": "q1", "positive": "a", "negative": ["b", "c", "e"], "score": [0.1, 0.1, -200.0, -3.0]},
    {"query": "q2", "positive": "a", "negative": ["b"], "score": [0.5, 0.7]},
)


def test_positives_are_the_best_whatever_stood_first() -> None:
    source = split_source(load_source(Source(rows=ROWS)), ScoreSplit(positives=2))
    first, second = source.get([0, 1])
    assert first.positives == ("b", "d") and first.negatives == ("a", "c") and not first.scores
    assert second.positives == ("a", "b") and second.negatives == ("e", "c")
    assert source.rows == 2 and source.max_negatives == 2 and "score" not in source.roles
    assert any("1 queries left out: they have no more candidates" in line for line in source.remarks)
    assert len(first.known) == 2


def test_the_worst_and_the_lowest_are_as_asked() -> None:
    source = split_source(load_source(Source(rows=ROWS)), ScoreSplit(positives=1, negatives=1, above=0.2))
    assert [(e.query, e.positives, e.negatives) for e in source.get([0, 1])] == [
        ("q0", ("b",), ("c",)),
        ("q2", ("b",), ("a",)),
    ]
    tied = split_source(load_source(Source(rows=ROWS)), ScoreSplit(positives=1))
    assert tied.get([1])[0].positives == ("a",)
    assert any("1 queries have equal scores at the cut" in line for line in tied.remarks)
    assert score_split([1.0, 2.0], 1, 5) == ([1], [0])


def test_rows_that_cannot_be_split() -> None:
    with pytest.raises(DataError, match="a score for the positive and for each negative"):
        split_source(load_source(Source(rows=({"query": "q", "positive": "a", "score": 1.0},))), ScoreSplit())
    with pytest.raises(DataError, match="no query is left: 3 have too few"):
        split_source(load_source(Source(rows=ROWS)), ScoreSplit(positives=9))


def test_groups_rotate_from_pass_to_pass() -> None:
    example = Example("q", positives=("a", "b", "c"), negatives=("1", "2", "3", "4", "5"))
    options = {"unlabelled": False, "views": 2, "per_query": 2, "one_positive": "rotate", "seed": 0, "offset": 0}
    seen = []
    for turn in range(4):
        for step in range(2):  # not the step, but the pass decides
            rows = expand([example], step=step, turn=turn, **options).rows  # type: ignore[arg-type]
            seen.append("".join(row.text for row in rows[1:]))
    assert seen[::2] == seen[1::2] == ["a12", "b34", "c51", "a23"]
    assert rotated(2, 3, 7) == [0, 1]


def test_a_source_comes_as_often_as_it_is_told() -> None:
    plain = StepSampler([40, 200], [None, None], 10, 1, 1.0, None, 0)
    more = StepSampler([40, 200], [None, None], 10, 1, 1.0, None, 0, repeats=[5, 1])
    assert plain.counts == [4, 20] and more.counts == [20, 20] and more.passes == [5.0, 1.0]
    assert more.steps == more.batches_per_epoch == 40
    turns = [more.batch(step) for step in range(more.steps)]
    assert sorted({batch.epoch for batch in turns if batch.source == 0}) == [0, 1, 2, 3, 4]
    assert {batch.epoch for batch in turns if batch.source == 1} == {0}
    seen = np.bincount([p for batch in turns if batch.source == 0 for p in batch.positions])
    assert seen.tolist() == [5] * 40


def test_check_knows_the_rules() -> None:
    def refusals(**source: object) -> str:
        extra = {"one_positive": source.pop("one_positive", "sample")}
        recipe = Recipe.model_validate({"data": {"sources": [{"rows": ROWS, **source}], **extra}})
        return "\n".join(p.what for p in plan(recipe).refusals)

    assert "has a weight and a repeat" in refusals(repeat=2, weight=1.0)
    assert "a stream has no passes" in refusals(one_positive="rotate", streaming=True)
    assert "a stream never has them" in refusals(score_split={}, streaming=True)
    assert refusals(score_split={"positives": 1}, one_positive="rotate") == ""
