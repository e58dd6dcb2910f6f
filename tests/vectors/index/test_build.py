"""An index by name or size; its recall is measured, reached on demand, or refused with the figure."""

from __future__ import annotations

import resource
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest

from embedkit.errors import DataError, WriteError
from embedkit.vectors.index import approximate
from embedkit.vectors.index import build as module
from embedkit.vectors.index.approximate import Approximate
from embedkit.vectors.index.build import IndexKind, build, lists_for, recall_of
from embedkit.vectors.index.found import NONE, Found
from tests.vectors.index.corpora import by_numpy, clustered, view

CORPUS, QUERIES = clustered(6000), clustered(300, seed=1)


@pytest.mark.parametrize("kind", ["ivf", "ivf-pq", "hnsw"])
def test_recall_is_that_against_numpy(kind: IndexKind) -> None:
    index = build(view(CORPUS), QUERIES[:256], kind=kind, k=10)
    found, truth = index.search(QUERIES[:256], 10), by_numpy(CORPUS, QUERIES[:256], 10)
    shares = [len(set(a) & set(b)) / 10 for a, b in zip(found.rows.tolist(), truth.rows.tolist(), strict=True)]
    assert index.report.recall == pytest.approx(np.mean(shares), abs=2e-3)
    assert 0.2 < index.report.recall <= 1 and index.report.probes == 256
    assert f"recall@10 {index.report.recall:.3f}" in index.report.line()


@pytest.mark.parametrize("kind", ["ivf", "hnsw"])
def test_a_demanded_recall_raises_the_effort(kind: IndexKind) -> None:
    searcher = build(view(CORPUS), QUERIES, kind=kind, k=10).searcher
    assert isinstance(searcher, Approximate)
    searcher.effort = 1
    low = recall_of(searcher.search(QUERIES, 10), by_numpy(CORPUS, QUERIES, 10))
    report = build(view(CORPUS), QUERIES, kind=kind, k=10, recall=0.97).report
    assert low < 0.9 and report.recall >= 0.97 and next(iter(report.effort.values())) >= 1


def test_an_inverted_file_looks_into_no_more_lists_than_it_must() -> None:
    random = np.random.default_rng(0).normal(size=(5000, 24)).astype(np.float32)
    probe = random[:200] + 0.1
    index = build(view(random), probe, kind="ivf", k=10, recall=0.97).searcher
    assert isinstance(index, Approximate) and 16 < index.effort < index.lists
    truth = by_numpy(random, probe, 10)
    assert recall_of(index.search(probe, 10), truth) >= 0.97
    index.effort -= 1
    assert recall_of(index.search(probe, 10), truth) < 0.97


def test_a_recall_that_is_not_reached_is_refused_with_the_figure() -> None:
    random = np.random.default_rng(0).normal(size=(3000, 24)).astype(np.float32)
    with pytest.raises(DataError, match=r"ivf-pq reaches a recall@50 of 0\.\d+ at nprobe \d+, not 1"):
        build(view(random), random[:100] + 0.1, kind="ivf-pq", recall=1.0)
    with pytest.raises(DataError, match=r"recall of 1\.5"):
        build(view(random), random[:10], kind="ivf", recall=1.5)


@pytest.mark.parametrize("kind", ["ivf", "ivf-pq", "hnsw"])
def test_small_corpora(kind: IndexKind) -> None:
    """Fewer rows than neighbours, lists or codes: the rest is no document."""
    for n in (1, 5, 60) if kind != "ivf-pq" else (256, 300):
        found = build(view(CORPUS[:n]), QUERIES, kind=kind, recall=0.5).search(QUERIES[:7], 400)
        assert found.rows.shape == (7, 400) and found.rows.max() < n
        assert ((found.rows == NONE) == np.isneginf(found.scores)).all()
        assert all(len(set(row[row >= 0])) == (row >= 0).sum() for row in found.rows)
        assert (found.rows >= 0).any(axis=1).all()


def test_lists_on_disk_find_what_lists_in_memory_find(tmp_path: Path) -> None:
    held = build(view(CORPUS), QUERIES, kind="ivf", seed=3)
    mapped = build(view(CORPUS), QUERIES, kind="ivf", seed=3, ram_gb=1e-4, folder=tmp_path / "index")
    assert [f.name for f in (tmp_path / "index").iterdir()] == ["lists"]
    np.testing.assert_allclose(mapped.search(QUERIES, 20).scores, held.search(QUERIES, 20).scores, atol=1e-6)


@pytest.mark.parametrize("limit", [3000, 60_000])
def test_a_full_disk_says_so_and_leaves_nothing(tmp_path: Path, limit: int) -> None:
    """In the middle of a shard, and of the lists that are merged of them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises(WriteError, match="larger than the system allows") as caught:
            build(view(CORPUS), QUERIES, kind="ivf", ram_gb=1e-4, folder=tmp_path / "index")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.where == str(tmp_path / "index") and not list((tmp_path / "index").iterdir())


def test_a_disk_without_room_for_the_lists_is_refused_before_they_are_mapped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Written to a mapped file, a full disk kills the process."""
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(approximate.shutil, "disk_usage", lambda path: usage(10**9, 10**9, 1000))
    with pytest.raises(WriteError, match=r"the lists take \d+ MiB, and 0 MiB are free"):
        build(view(CORPUS), QUERIES, kind="ivf", ram_gb=1e-4, folder=tmp_path / "index")
    assert not list((tmp_path / "index").iterdir())


def test_the_same_seed_builds_the_same_index() -> None:
    a, b = (build(view(CORPUS), QUERIES, kind="ivf", seed=5) for _ in range(2))
    assert (a.search(QUERIES, 20).rows == b.search(QUERIES, 20).rows).all() and a.report.recall == b.report.recall


def test_quantised_scores_are_those_of_the_whole_vectors() -> None:
    found = build(view(CORPUS), QUERIES, kind="ivf-pq").search(QUERIES, 5)
    for query, rows, scores in zip(QUERIES[:20], found.rows, found.scores, strict=False):
        np.testing.assert_allclose(scores, CORPUS[rows] @ query, atol=1e-5)


def test_auto_goes_by_size_and_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    assert module._chosen(200_000, 384, 20_000, 4.0) == "exact"
    assert module._chosen(2_000_000, 384, 1_000_000, 4.0) == "ivf"
    assert module._chosen(100_000_000, 384, 1_000_000, 4.0) == "ivf-pq"
    assert build(view(CORPUS), QUERIES).report.kind == "exact"
    monkeypatch.setattr(module, "_EXACT_PRODUCTS", 1)
    assert build(view(clustered(11_000)), QUERIES).report.kind == "ivf"


def test_too_few_vectors_for_codes() -> None:
    with pytest.raises(DataError, match="needs 256 vectors to learn its codes; there are 255"):
        build(view(CORPUS[:255]), QUERIES, kind="ivf-pq")


def test_a_graph_that_does_not_fit() -> None:
    with pytest.raises(DataError, match="HNSW graph"):
        build(view(CORPUS), QUERIES, kind="hnsw", ram_gb=1e-4)


def test_no_document_counts_on_neither_side() -> None:
    truth = Found(np.array([[0, 1, NONE]]), np.array([[1, 0.5, -np.inf]], np.float32))
    half = Found(np.array([[1, NONE, NONE]]), np.array([[0.5, -np.inf, -np.inf]], np.float32))
    assert recall_of(half, truth) == 0.5


def test_unknown_names_and_empty_corpora() -> None:
    with pytest.raises(DataError, match="no such index: annoy"):
        build(view(CORPUS), QUERIES, kind="annoy")  # type: ignore[arg-type]
    kinds: tuple[IndexKind, ...] = ("ivf", "ivf-pq", "hnsw", "exact")
    for kind in kinds:
        with pytest.raises(DataError, match="empty"):
            build(view(CORPUS[:0]), QUERIES, kind=kind).search(QUERIES, 1)


def test_few_searches_have_few_lists() -> None:
    assert lists_for(10_000, 10_000) == lists_for(10_000, 10**6) == 400
    assert lists_for(10_000, 2_500) == 200 and lists_for(10_000, 1) == 100
    corpus = clustered(10_000)
    found = [build(view(corpus), corpus[:50], kind="ivf", searches=n).searcher for n in (100, 10_000)]
    assert [one.lists for one in found if isinstance(one, Approximate)] == [100, 256]  # 39 rows a list at least
