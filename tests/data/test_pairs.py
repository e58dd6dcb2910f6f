"""Scored pairs of labelled texts, and texts of their labels: which rows are made, in which order, what is refused."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from embedkit.data.label_texts import entailment_rows, label_text_source
from embedkit.data.pairs import paired_source, setfit_pairs
from embedkit.data.sources import LoadedSource, load_source
from embedkit.data.text import text_id
from embedkit.errors import DataError
from embedkit.recipe.few_shots import LabelTexts, Pairs
from embedkit.recipe.schema import Source

LABELS = ["a", "a", "b_x", "b_x", "c"]


def labelled(labels: list[Any] = LABELS, **options: Any) -> LoadedSource:
    rows = tuple({"text": f"text {i}", "label": label} for i, label in enumerate(labels))
    return load_source(Source(rows=rows, **options))


@pytest.mark.parametrize("n", [2, 5, 9])
@pytest.mark.parametrize("self_pairs", [True, False])
def test_unique_pairs_are_all_combinations_once(n: int, self_pairs: bool) -> None:
    labels = np.arange(n) % 3
    made = setfit_pairs(labels, sampling="unique", self_pairs=self_pairs)
    combinations = itertools.combinations_with_replacement if self_pairs else itertools.combinations
    assert sorted(map(tuple, made.pair.tolist())) == list(combinations(range(n), 2))
    assert made.score.tolist() == [float(labels[i] == labels[j]) for i, j in made.pair]
    assert made.of_itself == (n if self_pairs else 0)


def test_sampling_repeats_or_cuts_in_the_order_of_the_unique_pairs() -> None:
    labels = np.array([0, 0, 1, 1, 2, 2, 2])
    unique = setfit_pairs(labels, sampling="unique")
    of = {
        kind: [tuple(p) for p, s in zip(unique.pair.tolist(), unique.score, strict=True) if s == kind]
        for kind in (0, 1)
    }
    long, short = max(len(of[0]), len(of[1])), min(len(of[0]), len(of[1]))
    cases: list[tuple[dict[str, Any], int]] = [
        ({"sampling": "oversampling"}, long),
        ({"sampling": "undersampling"}, short),
        ({"iterations": 9}, 63),
        ({"iterations": 1, "max_pairs": 10}, 7),
        ({"max_pairs": 9}, 4),
    ]
    for options, size in cases:
        made = setfit_pairs(labels, **options)
        assert made.score.tolist() == [1.0, 0.0] * size, options
        for kind in (0, 1):
            given = of[kind][: options.get("max_pairs", 2**30) // 2]
            wanted = list(itertools.islice(itertools.cycle(given), size))
            assert [tuple(p) for p in made.pair[made.score == kind].tolist()] == wanted, options
    assert setfit_pairs(labels, seed=1).pair.tolist() != setfit_pairs(labels).pair.tolist()


def test_several_classes_match_where_they_share_one() -> None:
    member = np.array([[1, 0, 1], [0, 1, 0], [0, 1, 1], [1, 0, 0]])
    made = setfit_pairs(member, sampling="unique", self_pairs=False)
    matched = {tuple(p) for p, s in zip(made.pair.tolist(), made.score, strict=True) if s}
    assert matched == {(0, 2), (0, 3), (1, 2)}


def test_a_list_that_would_be_repeated_may_not_be_empty() -> None:
    with pytest.raises(DataError, match="no two texts of different classes"):
        setfit_pairs(np.zeros(3))
    with pytest.raises(DataError, match="no two texts of one class"):
        setfit_pairs(np.arange(3), self_pairs=False)
    assert len(setfit_pairs(np.zeros(3), sampling="unique")) == 6


def test_a_source_gives_its_pairs_as_scored_examples() -> None:
    made = paired_source(labelled(), Pairs(sampling="unique"))
    assert (made.rows, made.roles) == (15, {"query", "positive", "score"})
    assert made.made["pairs"] == {"texts": 5, "positive": 7, "negative": 8, "of_itself": 5}
    for example in made.get(range(15)):
        first, second = (int(text.split()[1]) for text in (example.query, *example.positives))
        assert first <= second and example.scores == (float(LABELS[first] == LABELS[second]),)
        assert example.label is None and example.origin == f"rows[{first}] with rows[{second}]"


def test_a_source_of_texts_with_several_classes() -> None:
    labels: list[Any] = [["a", 1], ["b"], [1], "b"]
    source = load_source(
        Source(
            rows=tuple({"text": f"text {i}", "label": label} for i, label in enumerate(labels)),
            pairs=Pairs(multilabel=True),
        )
    )
    made = paired_source(source, Pairs(multilabel=True, sampling="unique", self_pairs="none"))
    matched = {(e.query, *e.positives) for e in made.get(range(6)) if e.scores == (1.0,)}
    assert matched == {("text 0", "text 2"), ("text 1", "text 3")}
    empty = Source(rows=({"text": "x", "label": []},), pairs=Pairs(multilabel=True))
    with pytest.raises(DataError, match="empty list in"):
        load_source(empty)


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        (lambda: labelled(["a", "b", "c"]), {}, "no two texts share a class"),
        (lambda: load_source(Source(rows=({"text": "x"},))), {}, "pairs makes rows of labelled texts"),
        (
            lambda: load_source(Source(rows=({"text": "x ", "label": 1}, {"text": "x", "label": 2}))),
            {},
            "one text has two labels: .rows.0. and rows.1.",
        ),
    ],
)
def test_what_makes_no_pairs(source: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        paired_source(source(), Pairs(**options))


def test_texts_with_themselves_alone_must_be_asked_for() -> None:
    made = paired_source(labelled(["a", "b", "c"]), Pairs(self_pairs="only", sampling="undersampling"))
    assert made.rows == 6 and made.made["pairs"]["of_itself"] == 3


def test_a_text_entails_the_description_of_its_class_alone() -> None:
    assert entailment_rows(1, 3) == [(0, False), (1, True), (2, False)]


def test_label_texts_are_positives_and_negatives() -> None:
    made = label_text_source(labelled(weight=2.0), LabelTexts(template="about {label}"))
    assert made.roles == {"query", "positive", "negative", "label"} and made.max_negatives == 2
    texts = {"a": "about a", "b_x": "about b x", "c": "about c"}
    assert made.made["label_texts"] == texts
    for example, label in zip(made.get(range(5)), LABELS, strict=True):
        assert example.positives == (texts[label],)
        assert set(example.negatives) == set(texts.values()) - {texts[label]}
        assert example.known == (text_id(texts[label]),)
    assert [e.label for e in made.get(range(5))] == [0, 0, 1, 1, 2]


def test_label_texts_of_a_file_and_of_the_recipe_agree(tmp_path: Path) -> None:
    file = tmp_path / "labels.tsv"
    file.write_text("label\ttext\n3\tthree\n-1\tminus one\n20\tunused\n", encoding="utf-8")
    source = labelled([3, -1, 3])
    read = label_text_source(source, LabelTexts(file=str(file)))
    written = label_text_source(source, LabelTexts(texts={"3": "three", "-1": "minus one", "20": "unused"}))
    assert read.get(range(3)) == written.get(range(3))
    assert [e.positives[0] for e in read.get(range(3))] == ["three", "minus one", "three"]
    assert read.remarks == ["1 label texts of classes without a row: 20"]


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ({"a": "x", "b_x": "y", "d": "z"}, "1 classes of rows have no label text: c"),
        ({"a": "x", "b_x": "x ", "c": "z"}, "have the same text"),
        ({"a": "x", "b_x": " ", "c": "z"}, "empty"),
    ],
)
def test_label_texts_that_tell_nothing_apart(texts: dict[str, str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        label_text_source(labelled(), LabelTexts(texts=texts))


def test_one_class_has_nothing_to_be_told_from() -> None:
    with pytest.raises(DataError, match="nothing to tell apart"):
        label_text_source(labelled(["a", "a"]), LabelTexts(template="{label}"))


def test_a_file_names_each_label_once(tmp_path: Path) -> None:
    file = tmp_path / "labels.jsonl"
    file.write_text('{"label": 1, "text": "x"}\n{"label": 1.0, "text": "y"}\n{"label": 2}\n', encoding="utf-8")
    with pytest.raises(DataError, match="a second text for label") as found:
        label_text_source(labelled([1, 2]), LabelTexts(file=str(file)))
    assert "labels.jsonl:2" in str(found.value) and "labels.jsonl:3: no label and text" in str(found.value)


@pytest.mark.parametrize("options", [{}, {"template": "no place"}, {"template": "{label}", "texts": {"a": "b"}}])
def test_label_texts_come_from_one_place(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        LabelTexts(**options)
