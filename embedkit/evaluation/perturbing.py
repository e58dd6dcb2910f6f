"""Texts changed by rule, the same way every time: typing errors, case, word order, negation.

Typing errors and case leave the meaning as it is, and a robust model its score. Word order and negation change it: a
model whose score stays has not read them.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping

from embedkit.data.negation import negate
from embedkit.recipe.columns import Rule

SHARE = 0.2
"""Of the words that get a typing error, at least one."""
SHORTEST = 4
"""Letters of a word that gets one."""
TRIES = 10
_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")


def changed(text: str, rule: Rule, seed: int = 0) -> str:
    """A text changed by a rule; as it was where the rule finds nothing to change.

    Args:
        text: any.
        rule: ``typos``, ``case``, ``order`` or ``negation`` (English).
        seed: with the text and the rule it decides what changes.
    """
    return _RULES[rule](text, random.Random(f"{seed} {rule} {text}"))  # noqa: S311


def _typos(text: str, draw: random.Random) -> str:
    words = text.split(" ")
    able = [i for i, word in enumerate(words) if sum(map(str.isalpha, word)) >= SHORTEST and word.isalpha()]
    for i in draw.sample(able, min(len(able), max(1, round(SHARE * len(words))))):
        words[i] = _mistyped(words[i], draw)
    return " ".join(words)


def _mistyped(word: str, draw: random.Random) -> str:
    """A word with two letters changed round, one left out, doubled or that of the next key; never the first."""
    for _ in range(TRIES):
        i = draw.randrange(1, len(word) - 1)
        kind = draw.randrange(4)
        if kind == 0:
            found = word[:i] + word[i + 1] + word[i] + word[i + 2 :]
        elif kind == 1:
            found = word[:i] + word[i + 1 :]
        elif kind == 2:
            found = word[:i] + word[i] + word[i:]
        else:
            found = word[:i] + _next_key(word[i], draw) + word[i + 1 :]
        if found != word:
            return found
    return word


def _next_key(letter: str, draw: random.Random) -> str:
    for row in _ROWS:
        at = row.find(letter.lower())
        if at >= 0:
            near = draw.choice([row[j] for j in (at - 1, at + 1) if 0 <= j < len(row)])
            return near.upper() if letter.isupper() else near
    return letter


def _case(text: str, draw: random.Random) -> str:
    upper = text.upper()
    return upper if upper != text else text.lower()


def _order(text: str, draw: random.Random) -> str:
    words = text.split()
    found = list(words)
    for _ in range(TRIES):
        draw.shuffle(found)
        if found != words:
            return " ".join(found)
    return text


_RULES: Mapping[Rule, Callable[[str, random.Random], str]] = {
    "typos": _typos,
    "case": _case,
    "order": _order,
    "negation": lambda text, draw: negate(text),
}
