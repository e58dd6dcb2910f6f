"""CLAIF's pairs: masking, filling, scoring and the authors' post-processing; CLHAIF's scores."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from embedkit.synthesis.answers import MASK
from embedkit.synthesis.calls import Call, Reply
from embedkit.synthesis.claif import RATES, Claif, Clhaif, masked
from embedkit.synthesis.prompts import Prompter
from embedkit.types import Example
from tests.synthesis.server import reply_to

TEXTS = [Example(f"The {a} {b} of number {i} stands here today.") for i, (a, b) in enumerate([("old", "house")] * 12)]


class Model:
    """Answers as the test server does, and remembers what it was asked."""

    def __init__(self, **fixed: str) -> None:
        self.fixed, self.asked = fixed, []  # type: ignore[var-annotated]

    def __call__(self, calls: Sequence[Call]) -> list[Reply]:
        self.asked += calls
        return [Reply(self.fixed.get(call.kind, reply_to(call.messages[-1][1]))) for call in calls]


@pytest.mark.parametrize("rate", RATES)
def test_the_share_of_masked_words(rate: float) -> None:
    for words in (1, 7, 10, 20):
        sentence = " ".join(f"w{i}" for i in range(words))
        for seed in range(10):
            left = [w for w in masked(sentence, rate, np.random.default_rng(seed)).split() if w != MASK]
            assert len(left) == words - math.ceil(round(rate * words, 9))
            assert left == sorted(left, key=lambda w: int(w[1:])), "the order stays"


def test_neighbouring_masks_merge_in_half_of_the_sentences() -> None:
    sentence = " ".join(f"w{i}" for i in range(10))
    merged = 0
    for seed in range(400):
        gaps = masked(sentence, 0.8, np.random.default_rng(seed)).split()
        if gaps.count(MASK) < 8:
            merged += 1
            assert f"{MASK} {MASK}" not in " ".join(gaps)
    assert 160 < merged < 240  # 4 standard deviations around 200


def test_one_call_per_rate_and_paraphrase_where_nothing_is_masked(prompter: Prompter) -> None:
    task, model = Claif(prompter), Model()
    list(task.rows(TEXTS, model))
    kinds = Counter(call.kind for call in model.asked)
    planned = {p.kind: p.count for p in task.plan(TEXTS)}
    assert kinds["paraphrase"] == planned["paraphrase"] == len(TEXTS)
    assert kinds["fill"] == planned["fill"] == 8 * len(TEXTS)
    assert 0 < kinds["score"] < planned["score"]
    first = {p.kind: p.first for p in task.plan(TEXTS)}
    assert first["paraphrase"] == model.asked[0] and first["fill"] == model.asked[1]


def test_rows_follow_the_authors_post_processing(prompter: Prompter) -> None:
    task = Claif(prompter)
    rows = list(task.rows(TEXTS, Model()))
    graded = [row for row in rows if row["made"] != "random"]
    random = [row for row in rows if row["made"] == "random"]
    assert graded and all(row["score"] == pytest.approx(0.8 * row["given"] + 0.1) for row in graded)
    assert all(row["sentence1"] != row["sentence2"] and MASK not in row["sentence2"] for row in rows)
    assert max(Counter((row["sentence1"], row["score"]) for row in graded).values()) == 2
    assert Counter(row["sentence1"] for row in random) == dict.fromkeys({row["sentence1"] for row in graded}, 2)
    made = defaultdict(set)
    for row in graded:
        made[row["sentence1"]].add(row["sentence2"])
    for row in random:
        assert (row["score"], row["given"]) == (0.0, None)
        assert row["sentence2"] not in made[row["sentence1"]]
        assert any(row["sentence2"] in texts for texts in made.values())
    assert {"score: not a number from 0 to 1", "fill: refusal", "a mask is left"} <= set(task.dropped)


def test_every_answer_becomes_a_row_or_has_a_reason(prompter: Prompter) -> None:
    task, model = Claif(prompter), Model()
    rows = [row for row in task.rows(TEXTS, model) if row["made"] != "random"]
    assert len(rows) + task.dropped.total() == 9 * len(TEXTS)


def test_copies_are_dropped(prompter: Prompter) -> None:
    text = TEXTS[0].query
    task = Claif(prompter)
    assert list(task.rows(TEXTS[:1], Model(fill=text, paraphrase=text))) == []
    assert task.dropped == {"identical pair": 9}
    task = Claif(prompter)
    rows = list(task.rows(TEXTS[:1], Model(fill="The same each time.", paraphrase="Another one.", score="0.5")))
    assert [row["sentence2"] for row in rows] == ["Another one.", "The same each time."]
    assert task.dropped == {"made twice": 7}
    assert [row["score"] for row in rows] == [0.5, 0.5], "no other sentence, so no random pair"


def test_a_texts_calls_do_not_depend_on_its_neighbours(prompter: Prompter) -> None:
    alone, together = Model(), Model()
    list(Claif(prompter).rows(TEXTS[3:4], alone))
    list(Claif(prompter).rows(TEXTS, together))
    assert set(alone.asked) <= set(together.asked)


def test_texts_given_twice_are_used_once(prompter: Prompter) -> None:
    task = Claif(prompter)
    assert task.once([*TEXTS, Example(" " + TEXTS[0].query.replace(" ", "  "))]) == TEXTS
    assert task.dropped == {"given twice": 1}


def test_clhaif_scores_the_positive(prompter: Prompter) -> None:
    triplets = [Example(f"query {i}", (f"positive {i}",), (f"negative {i}",)) for i in range(40)]
    task, model = Clhaif(prompter), Model()
    rows: list[dict[str, Any]] = list(task.rows(triplets, model))
    assert len(model.asked) == task.plan(triplets)[0].count == 40
    assert len(rows) + task.dropped["score: not a number from 0 to 1"] == 40
    assert all(0 <= row["score"] <= 1 for row in rows) and len({row["score"] for row in rows}) > 2
    number = rows[0]["query"].split()[1]
    assert rows[0]["positive"] == f"positive {number}" and rows[0]["negative"] == f"negative {number}"
    prompt = model.asked[0].messages[0][1]
    assert "query 0" in prompt and "positive 0" in prompt and "negative" not in prompt


def test_a_model_that_does_not_understand_is_told_early(prompter: Prompter, caplog: pytest.LogCaptureFixture) -> None:
    triplets = [Example(f"text {i}", (f"positive {i}",), (f"negative {i}",)) for i in range(100)]
    task, model = Clhaif(prompter), Model(score="The two say much the same.")
    rows = task.rows(triplets, model)
    assert list(rows) == [] and len(caplog.messages) == 1
    (said,) = caplog.messages
    assert "32 of the first 32 answers to the prompt 'score' cannot be used: score: not a number from 0 to 1" in said
    assert "'The two say much the same.'" in said and "cure:" in said
    assert task.examples == {"score: not a number from 0 to 1": "The two say much the same."}
    caplog.clear()
    task = Clhaif(prompter)
    assert len(list(task.rows(triplets, Model(score="0.5")))) == 100 and not caplog.messages
    assert task.scores == {0.5: 100}


def test_the_first_answers_come_before_the_others_are_asked(prompter: Prompter) -> None:
    triplets = [Example(f"text {i}", (f"positive {i}",), (f"negative {i}",)) for i in range(400)]
    model = Model(score="0.5")
    rows = iter(Clhaif(prompter).rows(triplets, model))
    next(rows)
    assert len(model.asked) == 32
    assert len(list(rows)) == 399 and len(model.asked) == 400
