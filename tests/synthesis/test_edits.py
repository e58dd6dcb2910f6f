"""Negatives by rule: they differ from the text, keep what the rule keeps, and depend on text, rule and seed alone."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from embedkit.errors import RecipeError
from embedkit.synthesis.edits import (
    RULES,
    change_number,
    edits,
    exchange_word,
    rules_called,
    shuffle_ngrams,
    shuffle_within,
)

TEXT = "The red car has 12 doors and is not as old as the Blue one."
ORDERS = ("words", "within", "trigrams", "bigrams")


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_makes_another_text_and_always_the_same(rule: str) -> None:
    made = edits(TEXT, [rule], seed=3)[rule]
    assert made != TEXT and made == edits(TEXT, list(RULES), seed=3)[rule]
    many = {edits(TEXT, [rule], seed=seed)[rule] for seed in range(30)}
    assert len(many) == 1 if rule == "negation" else len(many) > 3


@pytest.mark.parametrize("rule", ORDERS)
def test_another_order_keeps_every_word(rule: str) -> None:
    made = edits(TEXT, [rule], seed=1)[rule]
    assert Counter(made.replace(".", "").split()) == Counter(TEXT.replace(".", "").split())


def test_words_stay_in_their_group_of_three() -> None:
    words = list("abcdefgh")
    made = shuffle_within(words, lambda n: list(range(n))[::-1])
    assert made == list("cbafedhg")


def test_one_word_changes_within_its_list_and_keeps_its_case() -> None:
    made = {exchange_word("A Red door", random.Random(seed)) for seed in range(50)}
    assert all(text.startswith("A ") and text.endswith(" door") and text[2].isupper() for text in made)
    assert len(made) > 5 and "A Red door" not in made
    assert exchange_word("nothing here", random.Random(0)) == "nothing here"


@pytest.mark.parametrize(("text", "digits"), [("in 1999 there", 4), ("7 of them", 1), ("room 42.", 2)])
def test_a_number_becomes_another_of_as_many_digits(text: str, digits: int) -> None:
    made = {change_number(text, random.Random(seed)) for seed in range(200)}
    assert text not in made and len(made) >= 8
    numbers = {"".join(c for c in other if c.isdigit()) for other in made}
    assert {len(number) for number in numbers} == {digits}


@pytest.mark.parametrize("text", ["version 1.2.3", "3,50 euros", "model X9b", "no digits", "12345678901234"])
def test_what_is_no_whole_number_stays(text: str) -> None:
    assert change_number(text, random.Random(0)) == text


def test_an_edit_is_never_the_text_another_positive_or_another_edit() -> None:
    assert edits("one two", ["words"], seed=0, but=["two one"]) == {}
    assert edits("go go go", ORDERS, seed=0) == {}
    assert edits("a b", ["words", "trigrams", "within"], seed=0) == {"words": "b a"}
    assert edits("", RULES, seed=0) == {} and edits("  ", RULES, seed=0) == {}


def test_a_mark_alone_at_the_end_is_no_difference() -> None:
    assert shuffle_ngrams(["rain", "falls", "."], 2, random.Random(0)) is None
    assert shuffle_ngrams([], 2, random.Random(0)) is None
    made = {shuffle_ngrams(["a", "b", "c", "d", "."], 2, random.Random(seed)) for seed in range(40)}
    assert made == {"c d. a b", "c d a b.", ". c d a b", "a b. c d"}
    assert not edits("a b.", ["bigrams"], seed=0), "a mark that moved is no other text"


def test_unknown_rules_are_refused_with_the_nearest_name() -> None:
    with pytest.raises(RecipeError, match="no rule 'trigrms'") as caught:
        rules_called(["trigrms"])
    assert "did you mean 'trigrams'" in caught.value.cure
    with pytest.raises(RecipeError, match="no rule is named"):
        rules_called([])
