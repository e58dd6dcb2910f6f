"""Exact search equals numpy, by every product, in any block size."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import numpy as np
import pytest
import torch

from embedkit.errors import DataError
from embedkit.vectors.index import exact
from embedkit.vectors.index.exact import Exact, Method, _Best, faster
from embedkit.vectors.index.found import NONE, Found
from tests.vectors.index.corpora import by_numpy, clustered, view

METHODS: tuple[Method, ...] = get_args(Method)


@pytest.fixture(params=["faiss", "torch", "torch in small tiles", "torch as on a GPU"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Method:
    """Every method, torch's also with more than one tile each way, and by `topk`, on a CPU."""
    if request.param == "torch in small tiles":
        monkeypatch.setattr(exact, "_TILE", (70, 300))
    if request.param == "torch as on a GPU":
        monkeypatch.setattr(exact, "_Heaps", lambda queries, k: _Best(torch.from_numpy(queries), k))
        monkeypatch.setattr(exact, "_SCORES", 2**16)
    return "faiss" if request.param == "faiss" else "torch"


@pytest.mark.parametrize(("n", "k", "ram_gb"), [(9000, 20, 4.0), (9000, 20, 1e-4), (4096, 1, 4.0), (5000, 100, 1e-3)])
def test_equals_numpy(way: Method, n: int, k: int, ram_gb: float) -> None:
    corpus, queries = clustered(n), clustered(600, seed=1)
    found, want = Exact(view(corpus), method=way, ram_gb=ram_gb).search(queries, k), by_numpy(corpus, queries, k)
    np.testing.assert_allclose(found.scores, want.scores, atol=1e-6)
    assert (found.rows == want.rows).mean() > 0.9999  # two scores that differ by rounding alone may change places


def test_no_method_leaves_a_best_score_out_because_of_its_order(way: Method) -> None:
    """Scores that rise with the row: every row is better than all before."""
    corpus = np.linspace(0.01, 1, 9000, dtype=np.float32)[:, None]
    found = Exact(view(corpus), method=way).search(np.ones((3, 1), np.float32), 50)
    assert (found.rows == np.arange(8999, 8949, -1)).all()


def test_duplicates_and_zeros(way: Method) -> None:
    corpus = clustered(300)
    corpus[100:200] = corpus[0]
    corpus[250:] = 0
    found, want = Exact(view(corpus), method=way).search(corpus[:5], 300), by_numpy(corpus, corpus[:5], 300)
    np.testing.assert_allclose(found.scores, want.scores, atol=1e-6)
    assert (np.sort(found.rows) == np.arange(300)).all()
    zero = Exact(view(corpus), method=way).search(np.zeros((1, 24), np.float32), 10)
    assert (zero.rows == np.arange(10)).all() or (zero.scores == 0).all()


def test_a_corpus_smaller_than_k(way: Method) -> None:
    corpus = clustered(3)
    found = Exact(view(corpus), method=way).search(corpus, 5)
    assert found.rows.shape == (3, 5) and (found.rows[:, 3:] == NONE).all()
    assert np.isneginf(found.scores[:, 3:]).all() and (np.sort(found.rows[:, :3]) == [0, 1, 2]).all()


def test_what_is_no_number_is_named(way: Method) -> None:
    corpus, queries = clustered(5000), clustered(4, seed=1)
    bad = corpus.copy()
    bad[4711, 3] = np.nan
    with pytest.raises(DataError, match="row 4711") as error:
        Exact(view(bad), method=way).search(queries, 2)
    assert error.value.where == "corpus"
    queries[2, 0] = np.inf
    with pytest.raises(DataError, match="row 2"):
        Exact(view(corpus), method=way).search(queries, 2)


def test_large_numbers_are_no_infinity(way: Method) -> None:
    corpus = np.full((4, 3), 2e38, np.float32) * np.array([[1], [-1], [1], [-1]], np.float32)
    found = Exact(view(corpus), method=way).search(np.array([[0.1, 0, 0]], np.float32), 2)
    assert found.rows.tolist() == [[0, 2]]


def test_bad_calls() -> None:
    searcher = Exact(view(clustered(10)))
    with pytest.raises(DataError, match="24 dimensions"):
        searcher.search(np.zeros((2, 5), np.float32), 1)
    with pytest.raises(DataError, match="k is 0"):
        searcher.search(clustered(2), 0)
    with pytest.raises(DataError, match="empty"):
        Exact(view(np.empty((0, 24), np.float32))).search(clustered(2), 1)
    assert searcher.search(np.empty((0, 24), np.float32), 3).rows.shape == (0, 3)


@pytest.mark.parametrize("best", METHODS)
def test_the_faster_is_taken_where_there_is_enough_to_do(monkeypatch: pytest.MonkeyPatch, best: Method) -> None:
    corpus, calls = clustered(5000), list[str]()
    ways = {"faiss": "_by_faiss", "torch": "_by_torch"}

    def slowed(method: str) -> Callable[..., Any]:
        quick = getattr(exact, ways[method])

        def slower(*args: Any) -> Any:
            calls.append(method)
            for _ in range(1 if method == best else 60):
                found = quick(*args)
            return found

        return slower

    for method, name in ways.items():
        monkeypatch.setattr(exact, name, slowed(method))
    assert faster(view(corpus), corpus[:900], 10) == best and len(calls) == 4
    alone = Exact(view(corpus))
    alone.search(corpus[:50], 10)
    assert alone.method == "torch" and calls[4:] == ["torch"], "timing them would take longer than the search"
    monkeypatch.setattr(exact, "PROBE_ROWS", 250)
    searcher = Exact(view(corpus))
    searcher.search(corpus[:900], 10)
    searcher.search(corpus[:900], 10)
    assert searcher.method == best and [call for call in calls[9:] if call == best] == [best] * 2


def test_merging_two_halves_is_searching_the_whole() -> None:
    corpus, queries = clustered(4000), clustered(50, seed=1)
    left = Exact(view(corpus[:1500])).search(queries, 30)
    right = Exact(view(corpus[1500:])).search(queries, 30)
    whole = left.merge(Found(right.rows + 1500, right.scores), 30)
    want = Exact(view(corpus)).search(queries, 30)
    np.testing.assert_allclose(whole.scores, want.scores, atol=1e-6)
    assert (whole.rows == want.rows).mean() > 0.999
