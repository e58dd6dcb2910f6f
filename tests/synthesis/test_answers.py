"""What counts as an answer: one sentence, a list, a number; all else has a reason."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from embedkit.synthesis import answers
from embedkit.synthesis.answers import BadAnswer
from embedkit.synthesis.calls import Finish, Reply


def reason(read: Callable[[Reply], object], text: str, finish: Finish = "stop") -> str:
    with pytest.raises(BadAnswer) as error:
        read(Reply(text, finish))
    return str(error.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [("0", 0.0), ("1", 1.0), ("1.0", 1.0), ("0.75", 0.75), (" .5\n", 0.5), ("0.3.", 0.3), ("Score: 0.4", 0.4)],
)
def test_a_number_from_0_to_1_is_a_score(text: str, value: float) -> None:
    assert answers.score(Reply(text)) == value


@pytest.mark.parametrize(
    "text",
    ["", "1.1", "2", "-0.2", "80%", "0.8/1", "4/5", "0.7 because", "about 0.5", "0.2 0.3", "1e-1", "nan", "0,5", "01"],
)
def test_anything_else_is_not(text: str) -> None:
    assert reason(answers.score, text) == "not a number from 0 to 1"


@pytest.mark.parametrize(
    ("finish", "why"), [("length", "cut off"), ("refused", "refusal"), ("too_long", "prompt too long")]
)
def test_an_answer_that_did_not_end_well_is_not_read(finish: Finish, why: str) -> None:
    for read in (answers.score, answers.sentence):
        assert reason(read, "0.5", finish) == why


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't help with that.",
        "I\u2019m sorry, but I can\u2019t assist with that request.",
        "I am sorry, I cannot do that.",
        "Sorry, I won't write this.",
        "I apologize, but I am unable to fill the gaps.",
        "Unfortunately, I can't comply.",
        "I cannot generate such content.",
        "I am not able to provide a sentence like that.",
        "As an AI language model, I have no opinion.",
        "As a large language model I was trained on text.",
    ],
)
def test_refusals_are_seen(text: str) -> None:
    assert answers.is_refusal(text)
    assert reason(answers.sentence, text) == "refusal"
    assert reason(answers.score, text) == "refusal"
    assert reason(lambda reply: answers.sentences(reply, 5), text) == "refusal"


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry for your loss.",
        "Sorry seems to be the hardest word.",
        "I can't help falling in love.",
        "I cannot swim.",
        "Unfortunately, it rained all day.",
        "I won't be home tonight.",
        "As an aid to memory she took notes.",
        "He said that he cannot help with that.",
    ],
)
def test_sentences_of_people_are_no_refusals(text: str) -> None:
    assert answers.sentence(Reply(text)) == text


def test_a_text_that_reads_like_a_refusal_may_be_paraphrased_like_one() -> None:
    source = "I'm sorry, I can't come tonight."
    assert answers.sentence(Reply("Sorry, but I can't make it tonight."), source).startswith("Sorry")


def test_quotes_white_space_and_thoughts_are_taken_off() -> None:
    for written in (
        '"A  b c."',
        " A b c.\n",
        "\u201cA b c.\u201d",
        "<think>\nHm.\nWell.\n</think>\n\nA b c.",
        "'A b c.'",
    ):
        assert answers.sentence(Reply(written)) == "A b c."
    assert answers.sentence(Reply('"Yes," he said, "no."')) == '"Yes," he said, "no."'


def test_several_lines_and_nothing_are_no_sentence() -> None:
    assert reason(answers.sentence, "Here it is:\nA b c.") == "several lines"
    assert reason(answers.sentence, " \n ") == "empty"
    assert reason(answers.sentence, "<think>only thoughts</think>") == "empty"


def test_lists_lose_numbers_bullets_introduction_and_what_was_cut() -> None:
    text = 'Here you are:\n1. One is here.\n2) "Two is here."\n- Three is here.\n\n* Four is here.\nword\n5. Five is he'
    whole = ["One is here.", "Two is here.", "Three is here.", "Four is here.", "Five is he"]
    assert answers.sentences(Reply(text), 10) == whole
    assert answers.sentences(Reply(text, "length"), 10) == whole[:-1]
    assert answers.sentences(Reply(text), 2) == whole[:2]
    assert answers.sentences(Reply("1984 was a year."), 2) == ["1984 was a year."]
    assert reason(lambda reply: answers.sentences(reply, 5), "Hm:") == "no sentence"
    assert reason(lambda reply: answers.sentences(reply, 5), "One is he", "length") == "cut off"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("Yes", True),
        ("no.", False),
        (" **No**, it does not", False),
        ('"yes"', True),
        ("Yes, because it", True),
        ("<think>no</think>\nyes", True),
    ],
)
def test_the_first_word_says_yes_or_no(text: str, value: bool) -> None:
    assert answers.yes(Reply(text)) is value and answers.yes(Reply(text, "length")) is value


@pytest.mark.parametrize("text", ["", "No idea", "yes-men", "Yesterday.", "It does: yes", "<think>no", "nope", "0"])
def test_anything_else_is_neither(text: str) -> None:
    assert reason(answers.yes, text) == "neither yes nor no"


def test_a_refusal_is_no_no() -> None:
    assert reason(answers.yes, "I'm sorry, but I can't help with that.") == "refusal"
    assert reason(answers.yes, "", "refused") == "refusal" and reason(answers.yes, "", "too_long") == "prompt too long"
