"""Documents that are nearly another one: of a positive, or of a candidate that stands higher."""

from __future__ import annotations

import importlib.util
import re
import unicodedata
import zlib
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np

from embedkit.errors import EmbedkitError, RecipeError, check_whole
from embedkit.mining.filters.base import Candidates
from embedkit.recipe.filters import WHERE
from embedkit.terminal.progress import progress as bar

HELD = 2**18
"""Signatures kept from one query to the next: 128 MiB of 128 numbers each."""
_ALONE = "\u0e00-\u0eff\u1000-\u109f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
"""Letters of scripts that put no spaces between words: each is a word of its own here."""
_WORD = re.compile(rf"[{_ALONE}]|[^\W{_ALONE}]+")
_ERRORS = 4.0


class NearDuplicates:
    """Removes documents whose word shingles overlap with those of a positive, or of a candidate above that stays.

    Two texts with shingle sets A and B are near-duplicates where their Jaccard similarity ``|A & B| / |A | B|`` is at
    least `threshold` (Broder 1997, doi 10.1109/SEQUEN.1997.666900). MinHash signatures propose pairs, down to four
    standard errors below the threshold (a pair at it is missed three times in 100,000), and the sets decide. A text
    without words is nobody's duplicate, one with fewer words than a shingle has one shingle.

    Args:
        documents: [n] the corpus.
        positives: per query the rows of its positives.
        threshold: above 0, at most 1.
        words: of a shingle, taken without case and punctuation; in scripts without spaces a letter is a word.
        permutations: numbers of a signature.
        seed: of the permutations.
        progress: show a bar.

    Raises:
        EmbedkitError: datasketch is not installed.
        RecipeError: the threshold is no share, or a count is below 1.
    """

    name = "near-duplicates"

    def __init__(
        self,
        documents: Sequence[str],
        positives: Sequence[Sequence[int]],
        *,
        threshold: float = 0.8,
        words: int = 3,
        permutations: int = 128,
        seed: int = 0,
        progress: bool = False,
    ) -> None:
        if not 0 < threshold <= 1:
            raise RecipeError(f"a Jaccard similarity of {threshold}", WHERE, "a share above 0 and at most 1, e.g. 0.8")
        check_whole(words, "words", 1)
        check_whole(permutations, "permutations", 1)
        self._documents, self._positives = documents, positives
        self._threshold, self._words, self._progress = threshold, words, progress
        error = _ERRORS * (threshold * (1 - threshold) / permutations) ** 0.5
        self._proposed = threshold - error
        self._options = {"num_perm": permutations, "seed": seed, "hashfunc": zlib.crc32}
        self._minhash = _datasketch().MinHash
        self._signatures: OrderedDict[int, np.ndarray] = OrderedDict()

    def allows(self, candidates: Candidates) -> np.ndarray:
        allowed = candidates.keep.copy()
        with bar("near-duplicates", len(allowed), "queries", show=self._progress) as shown:
            for i, query in enumerate(candidates.query.tolist()):
                at = np.flatnonzero(candidates.keep[i])
                if len(at):
                    allowed[i, at] = self._alone(candidates.rows[i, at].tolist(), list(self._positives[query]))
                shown.advance()
        return allowed

    def _alone(self, rows: list[int], positives: list[int]) -> np.ndarray:
        """[m] whether each of a query's candidates, best first, is like no positive and none above it."""
        order = [*positives, *rows]
        signatures = self._signed(order)
        stays = np.zeros(len(order), bool)
        stays[: len(positives)] = True
        sets: dict[int, frozenset[str]] = {}
        for j in range(len(positives), len(order)):
            above = np.flatnonzero(stays[:j])
            estimate = (signatures[above] == signatures[j]).mean(axis=1)
            near = above[estimate >= self._proposed].tolist()
            stays[j] = not any(self._alike(order[j], order[i], sets) for i in near)
        return stays[len(positives) :]

    def _alike(self, row: int, other: int, sets: dict[int, frozenset[str]]) -> bool:
        one, two = (sets.setdefault(r, shingles(self._documents[r], self._words)) for r in (row, other))
        return jaccard(one, two) >= self._threshold

    def _signed(self, rows: list[int]) -> np.ndarray:
        """[m, permutations] signatures of documents."""
        missing = [row for row in dict.fromkeys(rows) if row not in self._signatures]
        texts = (_bytes(shingles(self._documents[row], self._words)) for row in missing)
        for row, made in zip(missing, self._minhash.generator(texts, **self._options), strict=True):
            self._signatures[row] = made.hashvalues
        found = np.stack([self._signatures[row] for row in rows])
        for row in dict.fromkeys(rows):
            self._signatures.move_to_end(row)
        while len(self._signatures) > HELD:
            self._signatures.popitem(last=False)
        return found


def shingles(text: str, words: int) -> frozenset[str]:
    """All runs of so many words of a text; all of its words where it has fewer; none where it has no word."""
    found = _WORD.findall(unicodedata.normalize("NFKC", text).casefold())
    if not found:
        return frozenset()
    return frozenset(" ".join(found[i : i + words]) for i in range(max(1, len(found) - words + 1)))


def jaccard(one: frozenset[str], two: frozenset[str]) -> float:
    """``|A & B| / |A | B|``; 0 for two empty sets."""
    return len(one & two) / max(1, len(one | two))


def _bytes(found: frozenset[str]) -> list[bytes]:
    return [shingle.encode("utf-8", "surrogatepass") for shingle in found]


def _datasketch() -> Any:
    if importlib.util.find_spec("datasketch") is None:
        cure = 'pip install "embedkit-train[dedup]"'
        raise EmbedkitError("near-duplicates need datasketch, which is not installed", WHERE, cure)
    import datasketch

    return datasketch
