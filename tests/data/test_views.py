from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from embedkit.data.text import text_id
from embedkit.data.views import expand
from embedkit.errors import DataError
from embedkit.types import PAD_ID, Example


def call(examples, **changes):
    options = {"unlabelled": False, "views": 2, "per_query": 0, "one_positive": "sample", "seed": 0, "step": 0}
    return expand(examples, **{**options, "offset": 0, **changes})


def many(n=12):
    return [
        Example(f"q{i}", tuple(f"p{i}.{j}" for j in range(3)), tuple(f"n{i}.{j}" for j in range(i % 5 + 1)))
        for i in range(n)
    ]


def test_unlabelled_text_gives_separate_rows_of_the_same_text():
    e = call([Example("a b"), Example("c d")], unlabelled=True, views=3, per_query=2)
    assert [(r.text, r.example, r.slot, r.role) for r in e.rows] == [
        (text, i, slot, "query") for i, text in enumerate(["a b", "c d"]) for slot in range(3)
    ]
    assert (e.positives, e.negatives) == (2, 0)
    assert e.positive_id.tolist() == [[text_id("a b")] * 2, [text_id("c d")] * 2]
    assert e.known_id.tolist() == [[text_id("a b")], [text_id("c d")]]
    assert e.score is None and e.label is None


def test_rows_ids_and_slots_agree():
    examples = many()
    e = call(examples, per_query=3)
    assert (e.positives, e.negatives) == (1, 3)
    ids = np.concatenate([e.query_id[:, None], e.positive_id, e.negative_id], axis=1)
    seen = np.full_like(ids, PAD_ID)
    for row in e.rows:
        seen[row.example, row.slot] = text_id(row.text)
        assert row.role == ("query" if row.slot == 0 else "document")
    assert np.array_equal(ids, seen)
    for i, example in enumerate(examples):
        own = {text_id(t) for t in example.negatives}
        drawn = [x for x in e.negative_id[i] if x != PAD_ID]
        assert len(set(drawn)) == len(drawn) == min(3, len(own))
        assert set(drawn) <= own


def test_draws_do_not_depend_on_the_number_of_processes():
    examples = many()
    whole = call(examples, per_query=2, step=5)
    for world in (2, 3, 4):
        share = len(examples) // world
        parts = [
            call(examples[r * share : (r + 1) * share], per_query=2, step=5, offset=r * share) for r in range(world)
        ]
        assert np.array_equal(whole.positive_id, np.concatenate([p.positive_id for p in parts]))
        assert np.array_equal(whole.negative_id, np.concatenate([p.negative_id for p in parts]))


def test_draws_change_with_step_and_cover_everything():
    example = Example("q", ("a", "b", "c"), ("n0", "n1", "n2", "n3"))
    positives, pairs = Counter(), Counter()
    for step in range(600):
        e = call([example], per_query=2, step=step)
        positives[int(e.positive_id[0, 0])] += 1
        pairs[frozenset(e.negative_id[0].tolist())] += 1
    assert len(positives) == 3 and min(positives.values()) > 150
    assert len(pairs) == 6 and min(pairs.values()) > 60
    first = {int(call([example], one_positive="first", step=s).positive_id[0, 0]) for s in range(20)}
    assert first == {text_id("a")}


def test_known_holds_query_all_positives_and_given_ids_once():
    e = call([Example("q", ("a", "b"), known=(text_id("b"), text_id("far"))), Example("r", ("c",))])
    assert e.known_id.tolist() == [
        [text_id(t) for t in ("q", "a", "b", "far")],
        [text_id("r"), text_id("c"), PAD_ID, PAD_ID],
    ]


def test_teacher_scores_follow_the_drawn_negatives():
    score = {f"n{j}": 0.1 * j for j in range(6)}
    example = Example("q", ("p",), tuple(score), (0.9, *score.values()))
    by_id = {text_id(t): s for t, s in score.items()}
    for step in range(30):
        e = call([example], per_query=3, step=step)
        assert e.score.shape == (1, 4)
        assert e.score[0, 0] == pytest.approx(0.9)
        assert e.score[0, 1:] == pytest.approx([by_id[x] for x in e.negative_id[0].tolist()])


def test_the_hardest_of_the_drawn_negatives_are_those_the_teacher_scores_highest():
    score = {f"n{j}": float(s) for j, s in enumerate((3, 9, 1, 7, 5))}
    example = Example("q", ("p",), tuple(score), (0.9, *score.values()))
    e = call([example], per_query=2, hardest_of=5)
    assert e.negative_id[0].tolist() == [text_id("n1"), text_id("n3")]
    assert e.score[0].tolist() == pytest.approx([0.9, 9, 7])
    second = {tuple(call([example], per_query=2, hardest_of=3, step=s).score[0, 1:].tolist()) for s in range(40)}
    assert len(second) > 3 and all(a > b for a, b in second)  # of three that are drawn
    few = call([Example("q", ("p",), ("a", "b"), (1.0, 2.0, 3.0))], per_query=3, hardest_of=4)
    assert few.score[0].tolist() == [1.0, 3.0, 2.0, 0.0]
    with pytest.raises(DataError, match="has no such scores"):
        call([Example("q", ("p",), ("a", "b"))], per_query=1, hardest_of=2)


def test_missing_negatives_have_no_row_and_score_zero():
    e = call([Example("q", ("p",), ("n",), (1.0, 0.5)), Example("r", ("p",), ("n", "m"), (1.0, 2.0, 3.0))], per_query=2)
    assert e.negative_id[0].tolist() == [text_id("n"), PAD_ID]
    assert e.score.tolist() == [[1.0, 0.5, 0.0], [1.0, 2.0, 3.0]]
    assert len(e.rows) == 7


def test_pair_scores_and_labels():
    e = call([Example("q", ("p",), scores=(0.25,), label=3), Example("r", ("s",), scores=(1.0,), label=1)])
    assert e.score.tolist() == [[0.25], [1.0]]
    assert e.label.tolist() == [3, 1]
    e = call([Example("q", label=3), Example("r", label=1)])
    assert e.positives == 0 and e.positive_id.shape == (2, 0)


@pytest.mark.parametrize(
    ("examples", "message"),
    [
        ([Example("q", ("p",), ("n",), (1.0, 2.0, 3.0), origin="f:7")], "f:7: 3 scores"),
        ([Example("q", ("p", "o"), scores=(1.0,), origin="f:8")], "f:8: scores with 2 positives"),
        ([Example("q", ("p",), scores=(1.0,)), Example("q", ("p",), origin="f:9")], "f:9: .*lacks a score"),
        ([Example("q", label=1), Example("q", origin="f:2")], "f:2: .*lacks a label"),
        ([Example("q", ("p",)), Example("q", origin="f:3")], "f:3: .*lacks positives"),
        (
            [Example("q", ("p",), ("n",), (1.0, 0.0)), Example("q", ("p",), ("n",), (1.0,), origin="f:4")],
            "f:4: .*lacks a score per negative",
        ),
    ],
)
def test_inconsistent_examples_are_named(examples, message):
    with pytest.raises(DataError, match=message):
        call(examples, per_query=1)


def test_text_id_is_stable_and_ignores_white_space_and_unicode_form():
    assert text_id("hello world") == text_id("  hello\n world ") == 4882774824043272360
    assert text_id("caf\u00e9") == text_id("cafe\u0301")
    assert text_id("Hello world") != text_id("hello world")
    assert 0 < text_id("") < 2**63


def test_all_positives_are_taken_in_their_order() -> None:
    examples = [Example("a", ("b", "c"), weights=(2.0,)), Example("d", ("e", "f"), weights=(3.0,))]
    options: dict[str, Any] = {"unlabelled": False, "views": 2, "per_query": 0, "seed": 0, "step": 0, "offset": 0}
    e = expand(examples, one_positive="all", **options)
    assert [(row.text, row.example, row.slot) for row in e.rows] == [
        ("a", 0, 0),
        ("b", 0, 1),
        ("c", 0, 2),
        ("d", 1, 0),
        ("e", 1, 1),
        ("f", 1, 2),
    ]
    assert e.positives == 2 and e.positive_id.shape == (2, 2) and e.weight is not None
    assert e.weight.tolist() == [2.0, 3.0]
    with pytest.raises(DataError, match="1 positives, and 2 in other examples") as raised:
        expand([*examples, Example("g", ("h",), weights=(1.0,), origin="x:3")], one_positive="all", **options)
    assert raised.value.where == "x:3"
    with pytest.raises(DataError, match="a weight per positive"):
        expand([Example("a", ("b", "c"), weights=(1.0, 2.0))], one_positive="all", **options)
