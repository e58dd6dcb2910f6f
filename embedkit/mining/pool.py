"""Candidates of every sentence, and how far each is in meaning, in words and in length."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from embedkit.mining.surface import SKETCH_DIM, Words
from embedkit.mining.vectors import Neighbours, Vectors
from embedkit.recipe.debias import Debias

CHUNK = 4096
"""Anchors whose candidates are held at once. Draws are keyed by it: a constant, not an option."""
_RANDOM = 72


@dataclass(frozen=True)
class Pool:
    """Candidates of a anchors, k slots each.

    Attributes:
        anchor: [a] sentences.
        candidate: [a, k] sentences; -1 where a slot is empty (the anchor itself, the same text, found twice).
        meaning: [a, k] cosine of the guide.
        surface: [a, k] surface similarity, 0..1.
        length: [a, k] relative length difference, 0..1.
        random: the last `random` slots hold candidates drawn at random.
    """

    anchor: np.ndarray
    candidate: np.ndarray
    meaning: np.ndarray
    surface: np.ndarray
    length: np.ndarray
    random: int = 0

    @property
    def valid(self) -> np.ndarray:
        """[a, k] whether a slot holds a candidate."""
        return self.candidate >= 0


class Pools:
    """Gives the candidates of any chunk of sentences.

    Args:
        vectors: meaning, [n, d].
        words: surface of the same n sentences.
        group: [n] equal for equal texts; a text is no candidate of itself.
        options: how many candidates, which surface similarity, the seed.
    """

    def __init__(self, vectors: Vectors, words: Words, group: np.ndarray, options: Debias) -> None:
        n = len(vectors)
        self.n, self._vectors, self._words, self._group, self._options = n, vectors, words, group, options
        self._by_meaning = self._by_words = None
        if options.neighbours:
            self._by_meaning = Neighbours(
                lambda start, stop: vectors.rows(np.arange(start, stop)), n, vectors.dim, options.exact_below
            )
        if options.lexical:
            self._by_words = Neighbours(words.sketch, n, SKETCH_DIM, options.exact_below)

    @property
    def starts(self) -> range:
        """Where chunks start."""
        return range(0, self.n, CHUNK)

    def chunk(self, start: int) -> Pool:
        """The pool of sentences ``start .. start + CHUNK``."""
        options, stop = self._options, min(self.n, start + CHUNK)
        anchor = np.arange(start, stop)
        parts = []
        if self._by_meaning is not None:
            parts.append(self._by_meaning.of(start, stop, options.neighbours))
        if self._by_words is not None:
            parts.append(self._by_words.of(start, stop, options.lexical))
        rng = np.random.default_rng([_RANDOM, options.seed, start])
        parts.append(rng.integers(0, self.n, size=(len(anchor), options.random)))
        candidate = self._without_copies(anchor, np.concatenate(parts, axis=1))
        return self._measured(anchor, candidate)

    def _without_copies(self, anchor: np.ndarray, candidate: np.ndarray) -> np.ndarray:
        candidate = candidate.copy()
        candidate[self._group[candidate] == self._group[anchor][:, None]] = -1
        order = np.argsort(candidate, axis=1, kind="stable")
        ordered = np.take_along_axis(candidate, order, axis=1)
        again = np.zeros(candidate.shape, bool)
        np.put_along_axis(again, order[:, 1:], ordered[:, 1:] == ordered[:, :-1], axis=1)
        candidate[again] = -1
        return candidate

    def _measured(self, anchor: np.ndarray, candidate: np.ndarray) -> Pool:
        rows, slots = np.nonzero(candidate >= 0)
        a, b = anchor[rows], candidate[rows, slots]
        similarity = self._words.overlap if self._options.surface == "overlap" else self._words.edit
        surface, length = np.zeros(candidate.shape, np.float32), np.zeros(candidate.shape, np.float32)
        surface[rows, slots] = similarity(a, b)
        length[rows, slots] = self._words.length_difference(a, b)
        meaning = self._vectors.cosine(anchor, np.maximum(candidate, 0))
        return Pool(anchor, candidate, meaning, surface, length, self._options.random)
