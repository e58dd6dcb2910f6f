"""Near-duplicates: of a positive, of each other, by the Jaccard similarity of word shingles."""

from __future__ import annotations

import random
import sys

import numpy as np
import pytest

from embedkit.errors import EmbedkitError, RecipeError
from embedkit.mining.filters import near
from embedkit.mining.filters.base import Candidates, apply
from embedkit.mining.filters.near import NearDuplicates, jaccard, shingles
from embedkit.vectors.index.found import NONE, Found


def among(rows: list[list[int]]) -> Candidates:
    scores = np.tile(np.linspace(0.9, 0.1, len(rows[0]), dtype=np.float32), (len(rows), 1))
    return Candidates.of(Found(np.array(rows), scores), np.full(len(rows), 0.9))


def kept(rule: NearDuplicates, candidates: Candidates) -> list[list[int]]:
    left, _ = apply([rule], candidates)
    return [rows[keep].tolist() for rows, keep in zip(left.rows, left.keep, strict=True)]


def altered(words: list[str], places: list[int]) -> str:
    return " ".join(f"x{i}" if i in places else word for i, word in enumerate(words))


def test_shingles_are_runs_of_words_without_case_and_marks() -> None:
    assert shingles("The cat, the CAT sat.", 3) == {"the cat the", "cat the cat", "the cat sat"}
    assert shingles("Two words!", 3) == {"two words"} and shingles(" ... ", 3) == frozenset()
    assert shingles("北京 大学", 2) == {"北 京", "京 大", "大 学"}
    assert shingles("ﬁn", 1) == {"fin"}


def test_jaccard_of_sets() -> None:
    assert jaccard(frozenset("abc"), frozenset("bcd")) == 0.5 and jaccard(frozenset(), frozenset()) == 0.0


@pytest.fixture
def corpus() -> list[str]:
    pytest.importorskip("datasketch")
    draw = random.Random(0)
    words = [[f"w{draw.randrange(5000)}" for _ in range(60)] for _ in range(4)]
    return [
        " ".join(words[0]),  # 0: the positive
        altered(words[0], [59]),  # 1: 57 of 59 shingles: 0.966
        altered(words[0], [10, 20, 30, 40]),  # 2: 46 of 70: 0.657
        " ".join(words[1]),  # 3
        " ".join(words[1]).upper() + "!",  # 4: the same words
        altered(words[1], [0]),  # 5: near 3 and 4
        " ".join(words[2]),  # 6
        "...",  # 7: no word
        "---",  # 8: no word either
    ]


def test_what_is_near_a_positive_or_a_higher_one_goes(corpus: list[str]) -> None:
    rule = NearDuplicates(corpus, [[0], []])
    assert kept(rule, among([[1, 2, 3, 4, 5, 6, 7, 8]] * 2)) == [[2, 3, 6, 7, 8], [1, 2, 3, 6, 7, 8]]
    assert kept(rule, among([[1, 2, 5, 4, 3, 6, 7, 8]])) == [[2, 5, 6, 7, 8]]  # the highest stays


def test_the_sets_decide_at_the_threshold(corpus: list[str]) -> None:
    exact = jaccard(shingles(corpus[0], 3), shingles(corpus[2], 3))
    assert exact == 46 / 70
    for seed in range(5):
        at = NearDuplicates(corpus, [[0]], threshold=exact, seed=seed)
        above = NearDuplicates(corpus, [[0]], threshold=exact + 1e-9, seed=seed)
        assert kept(at, among([[2]])) == [[]] and kept(above, among([[2]])) == [[2]]


def test_one_that_another_filter_removed_hides_nothing(corpus: list[str]) -> None:
    class First:
        name = "first"

        def allows(self, candidates: Candidates) -> np.ndarray:
            return candidates.rank > 1

    left, counts = apply([First(), NearDuplicates(corpus, [[]])], among([[3, 4, 5, NONE]]))
    assert left.rows[left.keep].tolist() == [4] and counts == {"first": 1, "near-duplicates": 1}


def test_it_agrees_with_all_pairs_compared(corpus: list[str]) -> None:
    draw = random.Random(1)
    base = [[f"w{draw.randrange(300)}" for _ in range(40)] for _ in range(12)]
    texts = [altered(draw.choice(base), draw.sample(range(40), draw.randrange(8))) for _ in range(120)]
    rows = [draw.sample(range(10, 120), 60) for _ in range(8)]
    positives = [draw.sample(range(10), draw.randrange(3)) for _ in range(8)]
    for threshold in (0.3, 0.6, 0.9):
        wanted = []
        for own, answers in zip(rows, positives, strict=True):
            standing: list[int] = []
            for row in own:
                others = [*answers, *standing]
                if all(jaccard(shingles(texts[row], 3), shingles(texts[o], 3)) < threshold for o in others):
                    standing.append(row)
            wanted.append(standing)
        assert kept(NearDuplicates(texts, positives, threshold=threshold), among(rows)) == wanted


def test_it_is_the_same_whatever_is_remembered(corpus: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    candidates = among([[1, 2, 3, 4, 5, 6, 7, 8]] * 3)
    rule = NearDuplicates(corpus, [[0], [], [6]], seed=7)
    found = kept(rule, candidates)
    assert kept(rule, candidates) == found
    monkeypatch.setattr(near, "HELD", 2)
    forgetful = NearDuplicates(corpus, [[0], [], [6]], seed=7)
    assert kept(forgetful, candidates) == found and len(forgetful._signatures) == 2


def test_without_datasketch_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "meta_path", [])
    monkeypatch.delitem(sys.modules, "datasketch", raising=False)
    with pytest.raises(EmbedkitError, match=r"embedkit-train\[dedup\]"):
        NearDuplicates(["a"], [[]])


@pytest.mark.parametrize("options", [{"threshold": 0}, {"threshold": 1.1}, {"words": 0}, {"permutations": 0}])
def test_settings_that_cannot_be(options: dict[str, float]) -> None:
    with pytest.raises(RecipeError):
        NearDuplicates(["a"], [[]], **options)  # type: ignore[arg-type]
