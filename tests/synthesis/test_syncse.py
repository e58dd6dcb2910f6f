"""SynCSE's triplets, for given sentences and from nothing."""

from __future__ import annotations

import pytest

from embedkit.synthesis.prompts import Prompter
from embedkit.synthesis.syncse import Partial, Scratch
from embedkit.types import Example
from tests.synthesis.test_claif import Model

TEXTS = [Example(f"Sentence {i} is here.") for i in range(30)]


def test_partial_writes_a_positive_and_a_negative(prompter: Prompter) -> None:
    task, model = Partial(prompter), Model()
    rows = list(task.rows(TEXTS, model))
    assert [call.kind for call in model.asked] == ["positive", "negative"] * 30
    assert sum(p.count for p in task.plan(TEXTS)) == 60
    assert task.plan(TEXTS)[1].first == model.asked[1]
    assert len(rows) + task.dropped["triplet without a usable positive or negative"] == 30
    assert task.dropped["positive: refusal"] + task.dropped["negative: refusal"] > 0
    for row in rows:
        assert row["positive"].endswith(f"to {row['query']}") and row["negative"].endswith(f"to {row['query']}")
        assert row["positive"] != row["negative"], "each has its own prompt"


@pytest.mark.parametrize(
    "fixed",
    [
        {"positive": "sentence 0  is HERE."},
        {"negative": "Sentence 0 is here."},
        {"positive": "One thing.", "negative": "one thing."},
    ],
)
def test_triplets_that_repeat_a_sentence_are_dropped(prompter: Prompter, fixed: dict[str, str]) -> None:
    task = Partial(prompter)
    model = Model(**{"positive": "Some text.", "negative": "Other text."} | fixed)
    assert list(task.rows(TEXTS[:1], model)) == []
    assert task.dropped == {"triplet that repeats a sentence": 1}


def test_scratch_begins_with_sentences_about_topics_and_genres(prompter: Prompter) -> None:
    task, model = Scratch(prompter, 45), Model()
    rows = list(task.rows([], model))
    asked = [call for call in model.asked if call.kind == "sentences"]
    assert [call.messages[0][1].split()[1] for call in asked] == ["10", "10", "10", "10", "5"]
    assert all(not call.one_line for call in asked) and len({call.messages for call in asked}) == 5
    planned = {p.kind: p for p in task.plan()}
    assert (planned["sentences"].count, planned["positive"].count, planned["negative"].count) == (5, 45, 45)
    assert planned["sentences"].first == asked[0]
    assert rows and all(row["query"].startswith("Sentence ") for row in rows)
    assert len({row["query"] for row in rows}) == len(rows)


def test_scratch_drops_repeated_sentences(prompter: Prompter) -> None:
    task = Scratch(prompter, 40)
    rows = list(task.rows([], Model(sentences="Only this one.\nOnly that one.", positive="A b.", negative="C d.")))
    assert [row["query"] for row in rows] == ["Only this one.", "Only that one."]
    assert task.dropped == {"given twice": 6}
