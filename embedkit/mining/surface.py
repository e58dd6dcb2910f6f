"""How alike two sentences look: shared words, edit distance in words, lengths. Nothing here knows a meaning."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy import sparse

_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
_WORD = re.compile(rf"[{_CJK}]|[^\W{_CJK}]+")
SKETCH_DIM = 256
_SKETCH = 71  # keeps this random stream apart from the others
EDIT_WORDS = 64
"""Words of a sentence that the edit distance looks at."""
_BLOCK = 32_768


def words(text: str) -> list[str]:
    """The words of a text, case folded: runs of letters, digits and underscores; each CJK character is a word."""
    return _WORD.findall(text.casefold())


@dataclass(frozen=True)
class Words:
    """The words of n sentences over a vocabulary of v.

    Attributes:
        count: [n] words per sentence, repeats included.
        distinct: [n] different words per sentence.
        flat, start: the words of sentence i are ``flat[start[i]:start[i + 1]]``, in order.
        sets: [n, v] 0/1 matrix, who holds which word.
    """

    count: np.ndarray
    distinct: np.ndarray
    flat: np.ndarray
    start: np.ndarray
    sets: sparse.csr_matrix

    @classmethod
    def of(cls, texts: Iterable[str]) -> Words:
        """Read the words of every text."""
        known: dict[str, int] = {}
        parts = [np.array([known.setdefault(w, len(known)) for w in words(text)], dtype=np.int32) for text in texts]
        count = np.array([len(part) for part in parts], dtype=np.int64)
        start = np.concatenate([[0], np.cumsum(count)])
        flat = np.concatenate(parts) if parts else np.zeros(0, np.int32)
        shape = (len(parts), max(1, len(known)))
        sets = sparse.csr_matrix((np.ones(len(flat), np.float32), flat.copy(), start), shape=shape)
        sets.sum_duplicates()  # sorts the indices in place: not those of `flat`
        sets.data[:] = 1
        return cls(count, np.diff(sets.indptr), flat, start, sets)

    def __len__(self) -> int:
        return len(self.count)

    def overlap(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """[m] Jaccard index |A & B| / |A | B| of the word sets of sentences `a` and `b` [m]; 0 for two empty ones."""
        shared = np.empty(len(a))
        for i in range(0, len(a), _BLOCK):
            part = slice(i, i + _BLOCK)
            shared[part] = np.asarray(self.sets[a[part]].multiply(self.sets[b[part]]).sum(axis=1)).ravel()
        return shared / np.maximum(self.distinct[a] + self.distinct[b] - shared, 1)

    def edit(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """[m] 1 - Levenshtein distance in words / words of the longer one, over the first `EDIT_WORDS` words."""
        out = np.empty(len(a))
        for i in range(0, len(a), _BLOCK):
            part = slice(i, i + _BLOCK)
            out[part] = _edit_similarity(*self._padded(a[part], -1), *self._padded(b[part], -2))
        return out

    def length_difference(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """[m] | |A| - |B| | / max(|A|, |B|) in words: 0 for equal lengths, towards 1 for very different ones."""
        longer = np.maximum(np.maximum(self.count[a], self.count[b]), 1)
        return np.abs(self.count[a] - self.count[b]) / longer

    def sketch(self, start: int, stop: int) -> np.ndarray:
        """[stop - start, SKETCH_DIM] float32 unit vectors whose inner product estimates |A & B| / sqrt(|A| |B|).

        A count sketch: every word has one random place and sign. Inner products of sketches are unbiased with a
        standard deviation of about ``1 / sqrt(SKETCH_DIM)``; they only nominate candidates.
        """
        vocabulary = self.sets.shape[1]
        rng = np.random.default_rng([_SKETCH, vocabulary])
        signs = rng.integers(0, 2, vocabulary) * 2 - 1
        places = rng.integers(0, SKETCH_DIM, vocabulary)
        into = sparse.csr_matrix(
            (signs.astype(np.float32), (np.arange(vocabulary), places)), shape=(vocabulary, SKETCH_DIM)
        )
        made = np.asarray((self.sets[start:stop] @ into).todense(), dtype=np.float32)
        return made / np.maximum(np.sqrt(self.distinct[start:stop, None]), 1).astype(np.float32)

    def _padded(self, rows: np.ndarray, fill: int) -> tuple[np.ndarray, np.ndarray]:
        lengths = np.minimum(self.count[rows], EDIT_WORDS)
        columns = np.arange(max(1, int(lengths.max(initial=0))))
        inside = columns < lengths[:, None]
        place = np.where(inside, self.start[rows][:, None] + columns, 0)
        return np.where(inside, self.flat[place] if len(self.flat) else 0, fill), lengths


def _edit_similarity(a: np.ndarray, la: np.ndarray, b: np.ndarray, lb: np.ndarray) -> np.ndarray:
    """Levenshtein over many pairs at once. Insertions run along a row: min over k <= j of ``step[k] + j - k``."""
    j = np.arange(b.shape[1] + 1, dtype=np.int16)
    row = np.repeat(j[None], len(a), axis=0)
    distance = np.where(la == 0, lb, 0)
    for i in range(1, a.shape[1] + 1):
        step = np.full_like(row, i)
        np.minimum(row[:, 1:] + 1, row[:, :-1] + (a[:, i - 1 : i] != b), out=step[:, 1:])
        row = np.minimum.accumulate(step - j, axis=1) + j
        ends = la == i
        distance[ends] = row[ends, lb[ends]]
    return 1 - distance / np.maximum(np.maximum(la, lb), 1)
