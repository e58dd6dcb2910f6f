"""Texts changed by rule."""

from __future__ import annotations

from collections import Counter
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedkit.evaluation.perturbing import SHORTEST, changed
from embedkit.recipe.columns import Rule

TEXT = "The quick brown animals jumped over several sleeping creatures beside the river yesterday"
RULES: tuple[Rule, ...] = get_args(Rule)


@settings(deadline=None, max_examples=60)
@given(st.text(max_size=60), st.sampled_from(RULES))
def test_any_text_is_changed_the_same_way_every_time(text: str, rule: Rule) -> None:
    found = changed(text, rule)
    assert found == changed(text, rule) and isinstance(found, str)
    if rule == "order":
        assert Counter(found.split()) == Counter(text.split())


def test_seeds_change_differently() -> None:
    assert len({changed(TEXT, "typos", seed) for seed in range(5)}) > 3
    assert len({changed(TEXT, "order", seed) for seed in range(5)}) == 5


def test_typing_errors_are_few_and_small() -> None:
    for seed in range(50):
        found = changed(TEXT, "typos", seed)
        pairs = [(a, b) for a, b in zip(TEXT.split(), found.split(), strict=True) if a != b]
        assert 1 <= len(pairs) <= round(0.2 * len(TEXT.split())), found
        for old, new in pairs:
            assert len(old) >= SHORTEST and new[0] == old[0] and abs(len(new) - len(old)) <= 1
            assert sum((Counter(old) - Counter(new)).values()) <= 1
    kinds = {len(changed("wonderful", "typos", seed)) for seed in range(20)}
    assert kinds == {8, 9, 10}, "left out, changed round or another key, doubled"


@pytest.mark.parametrize("text", ["", "a of it", "12345 98765", "   ", "a, b."])
def test_nothing_to_mistype(text: str) -> None:
    assert changed(text, "typos") == text


def test_equal_letters_are_not_changed_round_in_vain() -> None:
    assert all(changed("aaaaaaaa", "typos", seed) != "aaaaaaaa" for seed in range(30))


@pytest.mark.parametrize(
    ("text", "found"), [("Red apple", "RED APPLE"), ("RED", "red"), ("12 3", "12 3"), ("straße", "STRASSE")]
)
def test_case(text: str, found: str) -> None:
    assert changed(text, "case") == found


def test_word_order() -> None:
    assert changed("one", "order") == "one" and changed("go go go", "order") == "go go go"
    assert changed("two words", "order") == "words two"
    assert changed("  spaces   stay words ", "order").split() != ["spaces", "stay", "words"]


def test_negation() -> None:
    assert changed("The door is open.", "negation") == "The door is not open."
