"""Keys and their places, against a dict."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from embedkit.vectors.keys import NONE, KeyIndex, first_of_each, keys_of


def test_keys_are_the_hash_of_the_text_alone() -> None:
    texts = ["", "a", "a ", "ä", "a\u0308", "\ud800"]
    keys = keys_of(texts)
    assert len({tuple(k) for k in keys.tolist()}) == len(texts)
    assert keys[1].tobytes() == hashlib.blake2b(b"a", digest_size=16).digest()
    assert keys_of([]).shape == (0, 2)


def test_first_places_of_keys_that_share_halves() -> None:
    keys = np.array([[1, 2], [1, 3], [1, 2], [0, 2], [1, 3], [1, 2]], np.uint64)
    assert first_of_each(keys).tolist() == [True, True, False, True, False, False]
    assert first_of_each(keys[:0]).tolist() == []


@pytest.mark.parametrize("values", [3, 2**60])
def test_an_index_finds_what_a_dict_finds(values: int) -> None:
    """With three values a half, nearly every first half is shared: the second one decides."""
    rng = np.random.default_rng(0)
    index, expected = KeyIndex(), dict[tuple[int, int], int]()
    for size in (1, 5, 2, 300, 7, 1, 1, 40, 200):
        keys = rng.integers(0, values, (size, 2)).astype(np.uint64)
        keys = keys[first_of_each(keys) & (index.find(keys) == NONE)]
        index.add(keys, len(expected) + np.arange(len(keys)))
        expected.update((tuple(k), len(expected)) for k in keys.tolist())
        asked = np.concatenate([rng.integers(0, values, (50, 2)).astype(np.uint64), keys])
        assert index.find(asked).tolist() == [expected.get(tuple(k), NONE) for k in asked.tolist()]
        assert len(index) == len(expected)
    assert len(index._runs) < 6
