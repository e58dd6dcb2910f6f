"""Hard negatives by rule: a text with its words in another order, or with one word that changes what it says.

Orders are ARO's (arXiv 2210.01936) and FSC-CLIP's shuffled groups (arXiv 2410.05210); exchanged words, numbers and
negation are ours and know English. An edit may leave the meaning as it was (old for dirty): filter the result with a
guide or a cross-encoder where that matters.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Callable, Iterable, Sequence
from string import punctuation

from embedkit.data.negation import negate
from embedkit.errors import RecipeError
from embedkit.foreign.quoting import did_you_mean

Order = Callable[[int], Sequence[int]]
"""n -> the numbers below n in another order."""
Edit = Callable[[str, random.Random], str]
TRIES = 10
"""Draws before a rule gives up on a text that it leaves as it is."""
GROUP = 3
_NOUNS, _ADJECTIVES = ("NN",), ("JJ",)
_WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?")
_NUMBER = re.compile(r"(?<![\w.,])\d{1,9}(?![\w]|[.,]\d)")
_LISTS: tuple[tuple[str, ...], ...] = (
    ("black", "white", "red", "green", "blue", "yellow", "brown", "grey", "orange", "purple", "pink"),
    ("small", "large", "tiny", "huge", "short", "tall", "narrow", "wide", "thin", "thick"),
    ("wooden", "metal", "plastic", "glass", "leather", "paper", "stone", "cotton"),
    ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    ("first", "second", "third", "fourth", "last"),
    ("open", "closed", "broken", "new", "old", "empty", "full", "wet", "dry", "hot", "cold", "dirty", "clean"),
    ("increase", "decrease"),
    ("increases", "decreases"),
    ("increased", "decreased"),
    ("before", "after"),
    ("above", "below"),
    ("left", "right"),
    ("north", "south", "east", "west"),
    ("always", "never", "sometimes"),
    ("all", "some", "none"),
    ("more", "less"),
    ("higher", "lower"),
    ("morning", "evening"),
    ("day", "night"),
    ("man", "woman"),
    ("men", "women"),
    ("boy", "girl"),
    ("boys", "girls"),
    ("he", "she"),
)
_OTHERS = {word: tuple(o for o in words if o != word) for words in _LISTS for word in words}


def shuffle_places(words: Sequence[str], places: Sequence[int], order: Order) -> list[str]:
    """The words at `places` in another order, the rest as it is."""
    out = list(words)
    for place, source in zip(places, order(len(places)), strict=True):
        out[place] = words[places[source]]
    return out


def shuffle_nouns_and_adjectives(words: Sequence[str], tags: Sequence[str], order: Order) -> list[str]:
    """Nouns among the places of nouns, then adjectives among theirs.

    Args:
        words: n words.
        tags: the Penn Treebank tag of each.
        order: of the nouns, then of the adjectives.
    """
    out = list(words)
    for kind in (_NOUNS, _ADJECTIVES):
        out = shuffle_places(out, [i for i, tag in enumerate(tags) if tag.startswith(kind)], order)
    return out


def shuffle_others(words: Sequence[str], tags: Sequence[str], order: Order) -> list[str]:
    """All words but nouns and adjectives, among their places."""
    return shuffle_places(
        words, [i for i, tag in enumerate(tags) if not tag.startswith((*_NOUNS, *_ADJECTIVES))], order
    )


def groups(words: Sequence[str], size: int = GROUP) -> list[list[str]]:
    """Consecutive groups of `size` words, the last one maybe shorter."""
    return [list(words[start : start + size]) for start in range(0, len(words), size)]


def shuffle_within(words: Sequence[str], order: Order, size: int = GROUP) -> list[str]:
    """The words of each consecutive group among themselves."""
    return [group[i] for group in groups(words, size) for i in order(len(group))]


def shuffle_groups(words: Sequence[str], order: Order, size: int = GROUP) -> list[str]:
    """Consecutive groups in another order."""
    found = groups(words, size)
    return [word for i in order(len(found)) for word in found[i]]


def shuffle_ngrams(tokens: Sequence[str], n: int, rng: random.Random) -> str | None:
    """Groups of `n` tokens in another order; None where no other text comes of it in `TRIES` draws.

    A punctuation mark that is a group alone at the end goes behind a drawn group, or to the front. Marks stand against
    the token before them within a group, and a difference in the first or last mark alone is none.
    """
    found = groups(tokens, n)
    last = found[-1] if found and len(found[-1]) == 1 and _is_mark(found[-1][0]) else None
    body = found[:-1] if last else found
    if len(body) < 2:
        return None
    for _ in range(TRIES):
        mixed = [list(body[i]) for i in by_python(rng)(len(body))]
        if last:
            place = rng.randint(0, len(mixed))
            if place:
                mixed[place - 1] += last
            else:
                mixed.insert(0, last)
        flat = [token for group in mixed for token in group]
        if _inside(flat) != _inside(tokens):
            return " ".join(map(_joined, mixed))
    return None


def by_python(rng: random.Random) -> Order:
    """Orders drawn by Python's generator."""

    def order(n: int) -> list[int]:
        places = list(range(n))
        rng.shuffle(places)
        return places

    return order


def exchange_word(text: str, rng: random.Random) -> str:
    """One word of a list (colours, sizes, materials, counts, states, directions, ...) for another of the same list."""
    found = [match for match in _WORD.finditer(text) if match[0].lower() in _OTHERS]
    if not found:
        return text
    match = rng.choice(found)
    other = rng.choice(_OTHERS[match[0].lower()])
    cased = other.upper() if match[0].isupper() and len(match[0]) > 1 else other
    return text[: match.start()] + (cased.capitalize() if match[0].istitle() else cased) + text[match.end() :]


def change_number(text: str, rng: random.Random) -> str:
    """One whole number written in digits becomes another of as many digits."""
    found = list(_NUMBER.finditer(text))
    if not found:
        return text
    match = rng.choice(found)
    digits = len(match[0])
    lowest = 0 if digits == 1 else 10 ** (digits - 1)
    other = rng.randrange(lowest, 10**digits - 1)
    number = other + (other >= int(match[0]))
    return f"{text[: match.start()]}{number}{text[match.end() :]}"


def _by_words(change: Callable[[Sequence[str], Order], list[str]]) -> Edit:
    return lambda text, rng: " ".join(change(text.split(), by_python(rng)))


def _ngrams(text: str, rng: random.Random) -> str:
    return shuffle_ngrams(re.findall(r"\w+(?:['-]\w+)*|[^\w\s]", text), 2, rng) or text


RULES: dict[str, Edit] = {
    "words": _by_words(lambda words, order: shuffle_places(words, range(len(words)), order)),
    "within": _by_words(shuffle_within),
    "trigrams": _by_words(shuffle_groups),
    "bigrams": _ngrams,
    "exchange": exchange_word,
    "number": change_number,
    "negation": lambda text, rng: negate(text),
}
"""Rules that need no tagger, by the names that the command line knows."""


def rules_called(names: Iterable[str]) -> dict[str, Edit]:
    """The rules called `names`.

    Raises:
        RecipeError: one is none, or no rule is left.
    """
    found = {}
    for name in names:
        if name not in RULES:
            cure = f"{did_you_mean(name, list(RULES))}known: {', '.join(RULES)}"
            raise RecipeError(f"there is no rule {name!r}", "--rules", cure)
        found[name] = RULES[name]
    if not found:
        raise RecipeError("no rule is named", "--rules", f"known: {', '.join(RULES)}")
    return found


def edits(text: str, rules: Iterable[str], *, seed: int, but: Iterable[str] = ()) -> dict[str, str]:
    """The edits of one text, by rule; a rule that gives nothing new is left out.

    What is drawn depends on the text, the rule and the seed alone.

    Args:
        text: the original.
        rules: names of `RULES`.
        seed: of the draws.
        but: texts that an edit must not be, such as other positives.
    """
    taken = {_same(one) for one in (text, *but)}
    out: dict[str, str] = {}
    for name in rules:
        key = hashlib.sha256(f"{seed}\0{name}\0{text}".encode(errors="surrogatepass")).digest()
        rng = random.Random(int.from_bytes(key[:8], "big"))  # noqa: S311 (no secret is drawn)
        for _ in range(TRIES):
            made = RULES[name](text, rng)
            if made.strip() and _same(made) not in taken:
                taken.add(_same(made))
                out[name] = made
                break
    return out


def _same(text: str) -> str:
    """What two texts have in common that differ in marks, spaces and case alone."""
    return " ".join(re.findall(r"\w+", text)).lower()


def _is_mark(token: str) -> bool:
    return bool(token) and all(character in punctuation for character in token)


def _joined(tokens: Sequence[str]) -> str:
    return "".join(token if i == 0 or _is_mark(token) else f" {token}" for i, token in enumerate(tokens))


def _inside(tokens: Sequence[str]) -> list[str]:
    """Tokens without a mark at either end."""
    ends = {0, len(tokens) - 1}
    return [token for i, token in enumerate(tokens) if not (i in ends and _is_mark(token))]
