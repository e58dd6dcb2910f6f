"""Transforms of a view's text: words left out, moved, exchanged or repeated.

Words are what whitespace separates; languages written without spaces need other transforms (`token_cutoff`, ...).
CLEAR (arXiv 2012.15466) deletes words and spans, reorders and substitutes; its ratios, its source of substitutes and
its code are not published, so every ratio here is the recipe's own and no default claims to be the paper's.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from string import punctuation

import numpy as np

from embedkit.data.demonstrations import Given
from embedkit.errors import DataError
from embedkit.inputs.cures import PLAIN
from embedkit.inputs.lines import TextFile
from embedkit.inputs.records import BROKEN
from embedkit.inputs.texts import is_broken, is_empty

_TRIES = 10


class TextTransform:
    """Base: n words -> words. `pool` holds the words of the whole batch, each as often as it occurs, for transforms
    that set `needs_pool`; else it is empty."""

    needs_pool = False

    def setup(self, given: Given) -> None:
        """Called once before training, with what the run knows; most transforms need none of it."""

    def __call__(self, words: list[str], rng: np.random.Generator, pool: Sequence[str]) -> list[str]:
        raise NotImplementedError


class DeleteWords(TextTransform):
    """Leave out int(n * rate) words drawn without replacement; at least one stays."""

    def __init__(self, rate: float) -> None:
        self.rate = rate

    def __call__(self, words: list[str], rng: np.random.Generator, pool: Sequence[str]) -> list[str]:
        gone = set(rng.permutation(len(words))[: int(len(words) * self.rate)].tolist())
        return [word for i, word in enumerate(words) if i not in gone]


class DeleteSpan(TextTransform):
    """Leave out one run of int(n * rate) words; at least one stays."""

    def __init__(self, rate: float) -> None:
        self.rate = rate

    def __call__(self, words: list[str], rng: np.random.Generator, pool: Sequence[str]) -> list[str]:
        length = int(len(words) * self.rate)
        start = int(rng.integers(len(words) - length + 1))
        return words[:start] + words[start + length :]


class ReorderWords(TextTransform):
    """Exchange int(n * rate / (2 * span)) pairs of spans of `span` words; the spans do not overlap."""

    def __init__(self, rate: float, span: int) -> None:
        self.rate, self.span = rate, span

    def __call__(self, words: list[str], rng: np.random.Generator, pool: Sequence[str]) -> list[str]:
        count = 2 * int(len(words) * self.rate / (2 * self.span))
        # every placement of the spans is equally likely: draw places in a text where each span is one word long
        short = len(words) - count * (self.span - 1)
        starts = np.sort(rng.permutation(short)[:count]) + np.arange(count) * (self.span - 1)
        moved = list(words)
        for a, b in rng.permutation(starts).reshape(-1, 2).tolist():
            moved[a : a + self.span], moved[b : b + self.span] = words[b : b + self.span], words[a : a + self.span]
        return moved


class SubstituteWords(TextTransform):
    """Exchange int(n * rate) words, each for another word.

    Args:
        rate: share of the words.
        source: ``batch``: a word of the batch, drawn in proportion to its frequency there. ``synonyms``: one of the
            synonyms in a file; only words that have some are drawn, so fewer may change.
        synonyms: the file: UTF-8, one word per line, then its synonyms, separated by tabs. Words are looked up in
            lower case without the punctuation around them, which stays.

    Raises:
        DataError: the file cannot be read.
    """

    def __init__(self, rate: float, source: str = "batch", synonyms: str | None = None) -> None:
        self.rate, self.source = rate, source
        self.synonyms = {} if synonyms is None else read_synonyms(Path(synonyms))
        self.needs_pool = source == "batch"

    def __call__(self, words: list[str], rng: np.random.Generator, pool: Sequence[str]) -> list[str]:
        changed = list(words)
        able = [i for i, word in enumerate(words) if self.needs_pool or _core(word).lower() in self.synonyms]
        for j in rng.permutation(len(able))[: int(len(words) * self.rate)].tolist():
            i = able[j]
            changed[i] = self._other(words[i], rng, pool) if self.needs_pool else self._synonym(words[i], rng)
        return changed

    def _synonym(self, word: str, rng: np.random.Generator) -> str:
        core = _core(word)
        choice = self.synonyms[core.lower()]
        before, _, after = word.partition(core)
        return before + choice[int(rng.integers(len(choice)))] + after

    @staticmethod
    def _other(word: str, rng: np.random.Generator, pool: Sequence[str]) -> str:
        """A word of the batch; a draw that gives the same word is repeated a few times."""
        for _ in range(_TRIES):
            other = pool[int(rng.integers(len(pool)))]
            if other != word:
                return other
        return word


class RepeatWords(TextTransform):
    """Say some words twice: a number drawn evenly from 0 to max(least, int(n * rate)), at most n."""

    def __init__(self, rate: float, least: int = 2) -> None:
        self.rate, self.least = rate, least

    def __call__(self, words: list[str], rng: np.random.Generator, pool: Sequence[str]) -> list[str]:
        most = min(len(words), max(self.least, int(len(words) * self.rate)))
        twice = set(rng.permutation(len(words))[: int(rng.integers(most + 1))].tolist())
        return [word for i, word in enumerate(words) for _ in range(1 + (i in twice))]


def read_synonyms(path: Path) -> dict[str, list[str]]:
    """Word -> synonyms of a tab-separated file; lines of one word add up, blank ones are passed over.

    Raises:
        DataError: it is not there, not UTF-8, or a line has no synonym.
    """
    if not path.is_file():
        raise DataError("no such synonym file", str(path), "check `synonyms`")
    found: dict[str, list[str]] = {}
    for number, line in TextFile(path).numbered():
        if line == "":
            continue
        if line is not None and is_broken(line):
            cure = f"if the file is Latin-1, {PLAIN.encoding('latin-1')}"
            raise DataError(BROKEN, f"{path}:{number}", cure)
        word, *others = [part.strip() for part in (line or "").split("\t")]
        if line is None or "\r" in line or any(map(is_empty, (word, *(others or [""])))):
            what = "expected a word and its synonyms, UTF-8, separated by tabs"
            raise DataError(what, f"{path}:{number}", "e.g. big<TAB>large<TAB>huge")
        found.setdefault(word.lower(), []).extend(others)
    if not found:
        raise DataError("the synonym file is empty", str(path), "give lines like big<TAB>large<TAB>huge")
    return found


def _core(word: str) -> str:
    return word.strip(punctuation)
