"""Keys of texts, 16 bytes each, and where the vector of each is: sorted arrays, 24 bytes a text."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

NONE = -1
"""No place."""
_BLOCK = 65_536


def keys_of(texts: Sequence[str]) -> np.ndarray:
    """[n, 2] uint64: the 128 bits of each text's BLAKE2b; of 10^12 texts, two share one with a chance of 1.5e-15."""
    digests = (hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest() for text in texts)
    return np.frombuffer(b"".join(digests), "<u8").reshape(-1, 2)


def keys_of_ids(ids: Iterable[str | int]) -> np.ndarray:
    """[n, 2] keys of ids that need not fit into memory; a number is the same id as its digits."""
    rest, found = iter(ids), [keys_of([])]
    while block := [str(one) for one in islice(rest, _BLOCK)]:
        found.append(keys_of(block))
    return np.concatenate(found)


def first_of_each(keys: np.ndarray) -> np.ndarray:
    """[n] whether a key [n, 2] stands at its first place."""
    order = np.lexsort((keys[:, 1], keys[:, 0]))  # stable: of equal keys the first comes first
    ordered = keys[order]
    first = np.ones(len(keys), bool)
    first[order[1:]] = (ordered[1:] != ordered[:-1]).any(axis=1)
    return first


@dataclass(frozen=True)
class _Run:
    """Keys in order of their first half.

    Attributes:
        head: [n] uint64, ascending.
        tail: [n] uint64.
        place: [n] int64.
    """

    head: np.ndarray
    tail: np.ndarray
    place: np.ndarray

    @classmethod
    def sorted(cls, head: np.ndarray, tail: np.ndarray, place: np.ndarray) -> _Run:
        order = np.argsort(head, kind="stable")
        return cls(head[order], tail[order], place[order])

    def find(self, keys: np.ndarray) -> np.ndarray:
        """[m] places of keys [m, 2]: both halves are compared, also where first halves repeat."""
        found = np.full(len(keys), NONE, np.int64)
        left, at = np.arange(len(keys)), np.searchsorted(self.head, keys[:, 0])
        while len(left):
            same = at < len(self.head)
            same[same] = self.head[at[same]] == keys[left[same], 0]
            left, at = left[same], at[same]
            hit = self.tail[at] == keys[left, 1]
            found[left[hit]] = self.place[at[hit]]
            left, at = left[~hit], at[~hit] + 1
        return found


class KeyIndex:
    """Places of keys. Additions are sorted runs; runs of like size are merged, so that n keys cost O(n log n)."""

    def __init__(self) -> None:
        self._runs: list[_Run] = []

    def __len__(self) -> int:
        return sum(len(run.head) for run in self._runs)

    def find(self, keys: np.ndarray) -> np.ndarray:
        """[m] int64 places of keys [m, 2]; `NONE` where there is none."""
        found = np.full(len(keys), NONE, np.int64)
        for run in self._runs:
            left = np.flatnonzero(found == NONE)
            found[left] = run.find(keys[left])
        return found

    def add(self, keys: np.ndarray, places: np.ndarray) -> None:
        """Keys [n, 2] that are not there yet, each once, with their places [n]."""
        if not len(keys):
            return
        self._runs.append(_Run.sorted(keys[:, 0], keys[:, 1], places))
        while len(self._runs) > 1 and len(self._runs[-2].head) <= 2 * len(self._runs[-1].head):
            last, previous = self._runs.pop(), self._runs.pop()
            parts = zip(*((r.head, r.tail, r.place) for r in (previous, last)), strict=True)
            self._runs.append(_Run.sorted(*map(np.concatenate, parts)))
