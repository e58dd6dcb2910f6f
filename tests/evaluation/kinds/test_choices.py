"""A choice among near texts, and analogies."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from embedkit.errors import DataError
from embedkit.evaluation import suite as suites
from embedkit.evaluation.kinds import analogy, choice
from embedkit.evaluation.kinds.no_answer import answer_rates
from embedkit.recipe.kinds import AnalogyTask, ChoiceTask
from embedkit.recipe.suite import Suite
from embedkit.types import TaskScore
from tests.evaluation.hashing import HashingEncoder


def measured(task: object, encoder: HashingEncoder | None = None, resamples: int = 0) -> TaskScore:
    (score,) = suites.evaluate_suite(encoder or HashingEncoder(), Suite(tasks=(task,)), resamples=resamples).tasks
    return score


# Choice -------------------------------------------------------------------------------------------------------

OFFERED = [
    {"query": "a red house", "right": "the red house", "wrong": ["the blue house", "the red boat"], "about": "colour"},
    {"query": "a dog bites a man", "right": "the dog bites a man", "wrong": "the man bites a dog", "about": "order"},
    {
        "query": "a cat sees a bird",
        "right": "one bird",
        "wrong": ["a cat sees a fish", "dogs", "dogs"],
        "about": "order",
    },
]


@pytest.fixture
def offered(tmp_path: Path) -> str:
    path = tmp_path / "choice.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in OFFERED), encoding="utf-8")
    return str(path)


def test_the_right_text_must_be_nearer_than_every_wrong_one(offered: str) -> None:
    """Word counts cannot tell the order of words: the second query has a tie, which is wrong; the third fails."""
    score = measured(ChoiceTask(name="t", files=(offered,), group="about"), HashingEncoder(triples=0.0), resamples=50)
    assert score.units["accuracy"].tolist() == [1, 0, 0] and score.metrics["accuracy"] == pytest.approx(100 / 3)
    assert score.details["options"] == 8 and score.details["tied"] == 1
    assert score.details["chance"] == pytest.approx(100 * (1 / 3 + 1 / 2 + 1 / 3) / 3)
    assert score.units["margin"][0] > 0 == score.units["margin"][1] > score.units["margin"][2]
    assert score.interval is not None and score.interval.low < score.interval.value
    groups = score.details["groups"]
    assert [row["value"] for row in groups["rows"]] == [100, 0] and groups["mean"] == 50


def test_a_tie_counts_as_it_is_asked(offered: str) -> None:
    score = measured(ChoiceTask(name="t", files=(offered,), ties="right"), HashingEncoder(triples=0.0))
    assert score.units["accuracy"].tolist() == [1, 1, 0]


def test_a_text_is_not_right_and_wrong(tmp_path: Path) -> None:
    path = tmp_path / "c.tsv"
    path.write_text("query\tright\twrong\nq\ta\tb\nq\ta\ta\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"c\.tsv:3: 'a' is both right and wrong"):
        choice.read(ChoiceTask(name="t", files=(str(path),)))


# Analogies ----------------------------------------------------------------------------------------------------

WORDS = ["apple", "river", "stone", "cloud", "tiger", "candle"]


def write(path: Path, rows: list[tuple[str, str, str]]) -> str:
    path.write_text("\n".join(["first\tsecond\trelation", *map("\t".join, rows)]) + "\n", encoding="utf-8")
    return str(path)


@pytest.fixture
def pairs(tmp_path: Path) -> str:
    """A relation that adds the same word, and one that has no direction."""
    plural = [(word, f"{word} many", "plural") for word in WORDS]
    none = [(f"{word} here", f"{other} there{i}", "none") for i, (word, other) in enumerate(pairwise(WORDS))]
    return write(tmp_path / "pairs.tsv", plural + none)


def test_one_direction_is_told_from_none(pairs: str) -> None:
    score = measured(AnalogyTask(name="t", files=(pairs,)), HashingEncoder(dim=4096, triples=0.0), resamples=50)
    relations = score.details["relations"]
    assert relations["plural"] > 99 and relations["none"] < 75
    assert score.units["accuracy"][: len(WORDS)].tolist() == [1] * len(WORDS)
    assert (score.units["accuracy"][len(WORDS) :] < 1).all()
    assert score.units["alignment"][: len(WORDS)].min() > score.units["alignment"][len(WORDS) :].max()
    assert score.interval is not None and score.interval.low < score.interval.value < score.interval.high


def test_equal_embeddings_have_no_direction(pairs: str) -> None:
    class Constant(HashingEncoder):
        def encode(self, texts: list[str], **options: object) -> np.ndarray:  # type: ignore[override]
            return np.ones((len(texts), self.dim), np.float32)

    score = measured(AnalogyTask(name="t", files=(pairs,)), Constant())
    assert score.metrics == {"consistency": 50, "alignment": 0, "accuracy": 0}


def test_consistency_and_completions_are_those_of_loops() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((12, 5))
    first, second = np.arange(5), np.array([5, 6, 7, 8, 5])
    others = analogy.dealt(5, 3, rng)
    assert all(sorted(order) == list(range(5)) and (order != np.arange(5)).all() for order in others.tolist())

    def cosine(a: np.ndarray, b: np.ndarray) -> float:
        return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))

    offsets = vectors[second] - vectors[first]
    chance = []
    for order in others:
        wrong = vectors[second[order]] - vectors[first]
        chance += [cosine(wrong[i], wrong[j]) for i in range(5) for j in range(i)]
    expected = [
        np.mean([np.mean([cosine(offsets[i], offsets[j]) > c for c in chance]) for j in range(5) if j != i])
        for i in range(5)
    ]
    assert analogy.consistency(vectors[first], vectors[second], others) == pytest.approx(expected, abs=1e-9)
    found = []
    for c, d in zip(first, second, strict=True):
        hits = []
        for a, b in zip(first, second, strict=True):
            if a == c or b == d:
                continue
            place = vectors[b] - vectors[a] + vectors[c]
            hits.append(max(set(range(12)) - {a, b, c}, key=lambda k: cosine(place, vectors[k])) == d)
        found.append(np.mean(hits))
    assert analogy.completions(vectors, first, second) == pytest.approx(found)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([("a", "a", "r")], ["both texts are 'a'", "p.tsv:2"]),
        ([("a", "b", "r"), ("a", "b", "r")], ["given twice as 'r'", "p.tsv:3"]),
        ([("a", "b", "r"), ("c", "d", "r")], ["relation 'r' has 2 pairs", "3 are needed"]),
    ],
)
def test_relations_that_are_refused(tmp_path: Path, rows: list[tuple[str, str, str]], words: list[str]) -> None:
    with pytest.raises(DataError) as caught:
        analogy.read(AnalogyTask(name="t", files=(write(tmp_path / "p.tsv", rows),)))
    assert all(word in str(caught.value) for word in words), str(caught.value)


# Answers of a language model ----------------------------------------------------------------------------------


def test_rates_of_answers_sum_to_one() -> None:
    found = answer_rates([True, False, None, True], answerable=False)
    assert found == {"accuracy": 0.25, "error_rate": 0.5, "invalid_rate": 0.25}
    with pytest.raises(DataError, match="no answers"):
        answer_rates([], answerable=True)
