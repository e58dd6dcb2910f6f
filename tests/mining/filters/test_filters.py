"""Rules one by one and put together, on lists small enough to see."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from embedkit.errors import RecipeError
from embedkit.mining.filters.base import Candidates, Filter, apply
from embedkit.mining.filters.known import KnownPositives, SameText
from embedkit.mining.filters.scores import MarginToPositive, RankWindow, ScoreWindow
from embedkit.vectors.index.found import NONE, Found

N = np.nan


def candidates(scores: list[list[float]], positive: list[float], rows: list[list[int]] | None = None) -> Candidates:
    found = np.array(rows) if rows else np.tile(np.arange(len(scores[0])), (len(scores), 1))
    return Candidates.of(Found(found, np.array(scores, np.float32)), np.array(positive))


def kept(rule: Filter, among: Candidates) -> list[list[int]]:
    left, _ = apply([rule], among)
    return [rows[keep].tolist() for rows, keep in zip(left.rows, left.keep, strict=True)]


def test_all_positives_of_a_query_go_also_where_a_text_stands_twice() -> None:
    texts = np.array([70, 71, 72, 71, 74])
    among = candidates([[0.9, 0.8, 0.7, 0.6, 0.5]] * 2, [0.9, 0.9])
    assert kept(KnownPositives([[71, 74], [999]], texts), among) == [[0, 2], [0, 1, 2, 3, 4]]


def test_a_block_of_queries_has_their_numbers() -> None:
    found = Found(np.array([[0, 1, 2]] * 2), np.array([[0.9, 0.8, 0.7]] * 2, np.float32))
    second = Candidates.of(found, np.array([N, N]), first=2)
    rule = KnownPositives([[0, 1, 2], [0, 1, 2], [1], [2]], np.arange(3))
    assert second.query.tolist() == [2, 3] and kept(rule, second) == [[0, 2], [0, 1]]


def test_a_copy_goes_and_the_higher_one_stays() -> None:
    same = np.array([7, 8, 7, 9, 8])
    among = candidates([[0.9, 0.8, 0.7, 0.6, 0.5]], [0.9])
    assert kept(SameText(same), among) == [[0, 1, 3]]
    left, counts = apply([KnownPositives([[100]], np.array([100, 1, 2, 3, 4])), SameText(same)], among)
    assert left.rows[left.keep].tolist() == [1, 2, 3]  # row 0 was removed before, so its copy is the first
    assert counts == {"known positives": 1, "same text": 1}


def test_known_positives_and_same_texts_against_loops() -> None:
    draw = np.random.default_rng(0)
    texts = draw.integers(1, 12, 40)
    rows = np.array([draw.permutation(40)[:20] for _ in range(30)])
    rows[:5, 15:] = NONE
    found = Found(rows, np.zeros(rows.shape, np.float32))
    among = Candidates.of(found, np.full(30, np.nan, np.float32), 3)
    among = replace(among, keep=among.keep & (draw.random(rows.shape) < 0.8))
    known = [np.unique(draw.integers(1, 12, draw.integers(0, 4))) for _ in range(33)]
    allowed, first = KnownPositives(known, texts).allows(among), SameText(texts).allows(among)
    for i, query in enumerate(among.query.tolist()):
        above: set[int] = set()
        for j in np.flatnonzero(among.keep[i]).tolist():
            text = int(texts[rows[i, j]])
            assert allowed[i, j] == (text not in known[query]) and first[i, j] == (text not in above)
            above.add(text)


def test_the_window_is_that_of_the_unfiltered_list() -> None:
    """Positives at the top do not move it."""
    among = candidates([[0.9, 0.8, 0.7, 0.6, 0.5]], [0.9])
    left, _ = apply([KnownPositives([[0, 1]], np.arange(5)), RankWindow(2, 4)], among)
    assert left.rows[left.keep].tolist() == [2, 3] and left.rank[left.keep].tolist() == [3, 4]
    assert kept(RankWindow(3), among) == [[2, 3, 4]]
    for first, last in ((0, 3), (5, 4)):
        with pytest.raises(RecipeError, match="ranks"):
            RankWindow(first, last)


def test_scores_have_bounds() -> None:
    among = candidates([[0.9, 0.8, 0.3]], [0.9])
    assert kept(ScoreWindow(most=0.8), among) == [[2]]
    assert kept(ScoreWindow(least=0.8), among) == [[0, 1]]


def test_margins_of_nv_retriever() -> None:
    """Values of the paper's rules; a score at the threshold goes."""
    scores = [0.9, 0.77, 0.76, 0.755, 0.5, -0.1]
    among = candidates([scores], [0.8])
    assert MarginToPositive().threshold(np.array([0.8]))[0] == pytest.approx(0.76)
    assert kept(MarginToPositive(0.05), among) == [[3, 4, 5]]
    assert kept(MarginToPositive(0.05, "absolute"), among) == [[4, 5]]


def test_a_negative_positive_lowers_the_bar() -> None:
    """0.95 p would raise it: -0.19 lies above -0.2."""
    among = candidates([[-0.1, -0.195, -0.2, -0.21, -0.3]], [-0.2])
    assert kept(MarginToPositive(0.05), among) == [[4]]


def test_without_a_positive_no_margin() -> None:
    assert kept(MarginToPositive(), candidates([[0.9, 0.8]], [N])) == [[0, 1]]


def test_no_document_is_never_kept_and_never_counted() -> None:
    rows = [[3, 1, NONE, NONE]]
    among = candidates([[0.5, 0.4, -np.inf, -np.inf]], [N], rows)
    rules: list[Filter] = [RankWindow(1), ScoreWindow(), MarginToPositive(), SameText(np.zeros(4, np.int64))]
    left, counts = apply(rules, among)
    assert left.rows[left.keep].tolist() == [3]
    assert counts == {"rank window": 0, "score window": 0, "relative margin": 0, "same text": 1}
