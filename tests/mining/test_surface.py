"""Words, overlap, edit distance, length and sketches against plain Python."""

from __future__ import annotations

import random

import numpy as np
import pytest

from embedkit.mining.surface import EDIT_WORDS, SKETCH_DIM, Words, words
from tests.tiny import sentences


@pytest.fixture(scope="module")
def texts() -> list[str]:
    made = sentences(60, shortest=1, longest=14)
    return [*made, "", "...", made[0], made[1].upper(), " ".join(made[2].split()[::-1])]


@pytest.fixture(scope="module")
def table(texts: list[str]) -> Words:
    return Words.of(texts)


@pytest.fixture(scope="module")
def pairs(texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.integers(0, len(texts), 400), rng.integers(0, len(texts), 400)


def test_words() -> None:
    assert words("It's 3 o'clock, STRASSE Straße!") == ["it", "s", "3", "o", "clock", "strasse", "strasse"]
    assert words("日本語 text テ") == ["日", "本", "語", "text", "テ"]
    assert words("... !") == []


def test_overlap_is_the_jaccard_index(texts: list[str], table: Words, pairs: tuple[np.ndarray, np.ndarray]) -> None:
    found = table.overlap(*pairs)
    for value, i, j in zip(found, *pairs, strict=True):
        a, b = set(words(texts[i])), set(words(texts[j]))
        assert value == pytest.approx(len(a & b) / len(a | b) if a | b else 0)


def levenshtein(a: list[str], b: list[str]) -> int:
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        row, last = [i], row
        for j, y in enumerate(b, 1):
            row.append(min(last[j] + 1, row[-1] + 1, last[j - 1] + (x != y)))
    return row[-1]


def test_edit_is_levenshtein_over_words(texts: list[str], table: Words, pairs: tuple[np.ndarray, np.ndarray]) -> None:
    found = table.edit(*pairs)
    for value, i, j in zip(found, *pairs, strict=True):
        a, b = words(texts[i]), words(texts[j])
        assert value == pytest.approx(1 - levenshtein(a, b) / max(len(a), len(b), 1)), (a, b)
    assert table.edit(np.array([0]), np.array([62]))[0] == 1


def test_edit_sees_the_order_that_overlap_does_not(texts: list[str], table: Words) -> None:
    same, turned = np.array([2]), np.array([64])
    assert table.overlap(same, turned)[0] == 1
    assert table.edit(same, turned)[0] < 1


def test_edit_looks_at_the_first_words_only() -> None:
    long = " ".join(random.Random(0).choices(["ba", "de", "fi"], k=EDIT_WORDS + 20))
    table = Words.of([long, long + " go ku", long.split(" ", 1)[1]])
    assert table.edit(np.array([0]), np.array([1]))[0] == 1
    assert table.edit(np.array([0]), np.array([2]))[0] < 1


def test_length_difference(table: Words) -> None:
    table = Words.of(["a b c d", "a", "", ""])
    assert table.length_difference(np.array([0, 0, 2, 1]), np.array([1, 0, 3, 2])).tolist() == [0.75, 0, 0, 1]


def test_order_of_words_survives_the_sets(texts: list[str], table: Words) -> None:
    lengths = [len(words(text)) for text in texts]
    assert table.count.tolist() == lengths
    repeated = Words.of(["b a b", "a b"])
    assert repeated.flat.tolist() == [0, 1, 0, 1, 0] and repeated.distinct.tolist() == [2, 2]


def test_sketches_estimate_shared_words() -> None:
    table = Words.of(sentences(300, shortest=8, longest=12))
    made = table.sketch(0, 300)
    assert made.shape == (300, SKETCH_DIM) and made.dtype == np.float32
    assert np.array_equal(made[100:200], table.sketch(100, 200))
    dense = table.sets.toarray() / np.sqrt(table.distinct)[:, None]
    error = made @ made.T - dense @ dense.T
    assert abs(error.mean()) < 0.01
    assert error.std() < 1.5 / np.sqrt(SKETCH_DIM)
