"""Inverted files searched list by list give what faiss' own search gives, whatever the lists are like."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from embedkit.vectors.index import by_lists
from embedkit.vectors.index.approximate import Approximate, Kind
from tests.vectors.index.corpora import clustered, view

CORPUS, QUERIES = clustered(4000), clustered(600, seed=1)
LOPSIDED = np.concatenate([np.tile(CORPUS[:1], (3000, 1)) + 1e-3 * CORPUS[1000:], CORPUS[:1000]])
"""Most of its rows lie in one list."""


@pytest.mark.parametrize("corpus", [CORPUS, LOPSIDED], ids=["even", "lopsided"])
@pytest.mark.parametrize("kind", ["ivf", "ivf-pq"])
@pytest.mark.parametrize("on_disk", [False, True], ids=["memory", "disk"])
@pytest.mark.parametrize("room", [1, 2**24], ids=["row by row", "at once"])
def test_it_finds_what_faiss_finds(
    corpus: np.ndarray, kind: Kind, on_disk: bool, room: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(by_lists, "_SCORES", room)
    options = {"folder": tmp_path / "lists", "ram_gb": 1e-4} if on_disk else {}
    index = Approximate(view(corpus), kind, **options).index
    for probes, k in ((1, 20), (5, 20), (5, 5000)):
        index.nprobe = probes
        want, got = index.search(QUERIES, k), by_lists.search(index, QUERIES, k)
        there = want[1] >= 0
        assert (there == (got[1] >= 0)).all() and (k < 4000 or not there.all())
        assert np.allclose(want[0][there], got[0][there], rtol=1e-4, atol=1e-4)
        same = [len(set(a) & set(b)) / len(set(a)) for a, b in zip(want[1], got[1], strict=True)]
        assert np.mean(same) > 0.99  # rounding decides between equal scores


def test_few_queries_go_to_faiss(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    search = by_lists.search

    def noted(index: object, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        asked.append(len(queries))
        return search(index, queries, k)

    index = Approximate(view(CORPUS), "ivf")
    index.effort = 20
    monkeypatch.setattr(by_lists, "search", noted)
    enough = -(-by_lists.WORTH * index.lists // index.effort)
    few, many = index.search(QUERIES[: enough - 1], 10), index.search(QUERIES[:enough], 10)
    assert asked == [enough]
    assert np.array_equal(few.rows, many.rows[:-1])
