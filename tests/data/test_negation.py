"""Sentences that say the opposite."""

from __future__ import annotations

import pytest

from embedkit.data.negation import negate


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("He is here.", "He is not here."),
        ("He is not here.", "He is here."),
        ("The door was open and is shut", "The door was not open and is shut"),
        ("It isn't open and was not", "It is open and was not"),
        ("You can't go", "You can go"),
        ("You cannot go", "You can go"),
        ("Won't it rain?", "Will it rain?"),
        ("She never sings", "She sings"),
        ("It is not.", "It is."),
        ("Not all are here", "all are here"),
        ("Nothing is known", "Nothing is not known"),
        ("Rain falls", "Rain falls"),
        ("What he is", "What he is"),
        ("This island knots", "This island knots"),
        ("", ""),
    ],
)
def test_negation_is_put_in_or_taken_out(text: str, found: str) -> None:
    assert negate(text) == found
