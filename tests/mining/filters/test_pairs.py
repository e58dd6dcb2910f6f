"""Rules on scores of pairs: who is scored, once, and what becomes of the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from embedkit.errors import DataError
from embedkit.mining.assembly import Assembly
from embedkit.mining.filters.base import Candidates, apply, notes_of
from embedkit.mining.filters.pairs import ByScore, Scorer
from embedkit.mining.filters.scores import RankWindow
from embedkit.mining.problem import Problem
from embedkit.recipe.filters import Rule
from embedkit.vectors.index.found import NONE, Found

SCORES = {"d0": 0.9, "d1": 0.05, "d2": 0.1, "d3": 0.84, "d4": 0.85, "d5": 0.6}


def problem() -> Problem:
    """Three queries: d0 and d5 answer the first, d0 the second, nothing is known of the third."""
    gathered = Assembly()
    gathered.query("one", ["d0", "d5"])
    gathered.query("two", ["d0"])
    gathered.query("three")
    for name in SCORES:
        gathered.document(name)
    return gathered.finish()


class Model:
    """Scores by the document, and every pair it was asked for."""

    def __init__(self, scores: dict[str, float] = SCORES) -> None:
        self.scores, self.asked, self.calls = scores, list[tuple[str, str]](), list[int]()

    def __call__(self, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        self.asked += pairs
        self.calls.append(len(pairs))
        return np.array([self.scores[document] for _, document in pairs], np.float32)


def among(rows: list[list[int]], queries: list[int]) -> Candidates:
    scores = np.tile(np.linspace(0.9, 0.5, len(rows[0]), dtype=np.float32), (len(rows), 1))
    made = Candidates.of(Found(np.array(rows), scores), np.full(len(rows), 0.9))
    return replace(made, query=np.array(queries))


def kept(candidates: Candidates) -> list[list[int]]:
    return [rows[keep].tolist() for rows, keep in zip(candidates.rows, candidates.keep, strict=True)]


def rule(kind: str, number: float, model: Model, **options: int) -> ByScore:
    given = problem()
    return ByScore("model", Scorer(given, model, **options), given.positives, Rule(kind, number))  # type: ignore[arg-type]


def test_a_threshold_is_rocketqas_denoising() -> None:
    """A score at it is not below it, in the model's own float32 too."""
    model = Model()
    left, counts = apply([rule("below", 0.1, model)], among([[1, 2, 3, 4], [4, 3, 2, 1]], [0, 2]))
    assert kept(left) == [[1], [1]] and counts == {"model below 0.1": 6}
    assert all(document not in ("d0", "d5") for _, document in model.asked), "a threshold needs no positive"


@pytest.mark.parametrize(
    ("kind", "number", "one", "two"),
    [
        ("absolute-margin", 0.05, [1, 2], [1, 2, 3]),  # below 0.6 - 0.05, below 0.9 - 0.05
        ("absolute-margin", 0.0, [1, 2], [1, 2, 3, 4]),
        ("margin", 0.95, [1, 2], [1, 2, 3, 4]),  # below 0.57, below 0.855
        ("margin", 0.94, [1, 2], [1, 2, 3]),  # below 0.846
    ],
)
def test_a_margin_is_to_the_lowest_positive(kind: str, number: float, one: list[int], two: list[int]) -> None:
    left, _ = apply([rule(kind, number, Model())], among([[1, 2, 3, 4]] * 3, [0, 1, 2]))
    assert kept(left) == [one, two, [1, 2, 3, 4]]


def test_a_margin_of_negative_scores_is_below_them() -> None:
    """Logits: 0.9 p would be above p = -2."""
    model = Model({"d0": -2.0, "d1": -1.9, "d2": -2.1, "d3": -2.2, "d4": -2.3, "d5": 9})
    left, _ = apply([rule("margin", 0.9, model)], among([[1, 2, 3, 4]], [1]))
    assert kept(left) == [[4]]


def test_only_what_is_left_is_scored_and_each_pair_once() -> None:
    model = Model()
    own = rule("margin", 0.95, model)
    rules = [RankWindow(2), own]
    candidates = among([[3, 1, 2, NONE], [3, 4, 1, NONE], [1, 2, 3, 4]], [0, 1, 2])
    first, _ = apply(rules, candidates)
    wanted = {("one", "d0"), ("one", "d5"), ("one", "d1"), ("one", "d2")} | {("two", f"d{i}") for i in (0, 4, 1)}
    assert Counter(model.asked) == Counter(wanted), "nothing of a query without positives"
    second, _ = apply(rules, candidates)
    assert kept(second) == kept(first) and len(model.asked) == len(wanted)
    apply([own], among([[1, 3]], [0]))
    assert model.asked[len(wanted) :] == [("one", "d3")]


def test_documents_of_one_text_are_one_pair() -> None:
    model = Model({"d": 0.0})
    given = Problem(["q"], ["q"], ["d", "d"], ["1", "2"], [()])
    scorer = Scorer(given, model)
    assert scorer.of(np.array([0, 0]), np.array([0, 1])).tolist() == [0, 0] and model.asked == [("q", "d")]


def test_pairs_go_in_batches() -> None:
    model = Model()
    left, _ = apply([rule("below", 0.5, model, at_once=3)], among([[1, 2, 3, 4, 5]] * 2, [0, 1]))
    assert model.calls == [3, 3, 3, 1] and kept(left) == [[1, 2], [1, 2]]


def test_no_candidate_left_asks_nothing() -> None:
    model = Model()
    left, counts = apply([RankWindow(9), rule("below", 0.5, model)], among([[1, 2]], [0]))
    assert kept(left) == [[]] and not model.asked and counts["model below 0.5"] == 0


def test_an_answer_that_cannot_be_used_keeps_nothing_and_is_counted() -> None:
    scores = {**SCORES, "d1": np.nan, "d5": np.nan}
    given = problem()
    own = ByScore("judge", Scorer(given, Model(scores), gaps=True), given.positives, Rule("absolute-margin", 0.0))
    left, counts = apply([own], among([[1, 2, 3]] * 2, [0, 1]))
    assert kept(left) == [[2, 3], [2, 3]] and counts == {"judge absolute-margin 0": 2}
    assert notes_of([own, RankWindow()]) == {"judge absolute-margin 0: no usable score": 2}
    nothing = ByScore(
        "judge", Scorer(given, Model(dict.fromkeys(SCORES, np.nan)), gaps=True), given.positives, Rule("margin", 0.9)
    )
    left, _ = apply([nothing], among([[1, 2, 3]], [0]))
    assert kept(left) == [[]] and sum(nothing.notes.values()) == 3


@pytest.mark.parametrize(
    ("found", "told"),
    [
        (np.array([0.5, np.nan]), "1 of 2 scores are not finite, first of 'one' and 'd2'"),
        (np.array([np.inf, 0.1]), "first of 'one' and 'd1'"),
        (np.zeros((2, 3)), r"float64 \[2, 3\] for 2 pairs"),
        (np.zeros(3), r"float64 \[3\] for 2 pairs"),
        (np.array(["a", "b"]), "for 2 pairs"),
    ],
)
def test_what_is_no_score_is_refused(found: np.ndarray, told: str) -> None:
    given = problem()
    scorer = Scorer(given, lambda pairs: found, name="reranker")
    with pytest.raises(DataError, match=told):
        scorer.of(np.array([0, 0]), np.array([1, 2]))


def test_a_column_of_scores_is_one_for_each_pair() -> None:
    scorer = Scorer(problem(), lambda pairs: np.array([[1], [2]]))
    assert scorer.of(np.array([0, 0]), np.array([1, 2])).tolist() == [1, 2]
