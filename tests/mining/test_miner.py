"""The miner against a naive search, over processes, and with vectors of all kinds."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embedkit.errors import DataError
from embedkit.mining import miner as module
from embedkit.mining.assembly import Assembly
from embedkit.mining.filters.scores import MarginToPositive
from embedkit.mining.miner import By, Miner
from embedkit.mining.problem import Problem
from embedkit.mining.table import MinedTable
from embedkit.recipe.mining import Search
from embedkit.vectors.store import VectorStore
from embedkit.vectors.view import ArrayView
from tests.mining.worlds import DIM, World, miner, problem


def naive(world: World, given: Problem, depth: int, keep: int) -> list[list[tuple[int, int]]]:
    """(row, rank) of each query's negatives."""
    q, d = world(list(given.queries)), world(list(given.documents))
    found = []
    for i, scores in enumerate(q @ d.T):
        order = np.argsort(-scores, kind="stable")[:depth]
        allowed = [(int(row), rank) for rank, row in enumerate(order, 1) if row not in given.positives[i]]
        found.append(allowed[:keep])
    return found


def pairs(table: MinedTable) -> list[list[tuple[int, int]]]:
    return [
        [(int(r), int(k)) for r, k in zip(rows, ranks, strict=True) if r >= 0]
        for rows, ranks in zip(table.rows, table.rank, strict=True)
    ]


@pytest.mark.parametrize("block", [5, 4096])
def test_it_finds_what_a_naive_search_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(module, "BLOCK", block)
    world = World()
    table = miner(tmp_path).mine(world.by)
    assert pairs(table) == naive(world, problem(), 20, 4)
    report = table.report
    assert report["candidates"] == 12 * 20 and report["negatives"] == 48 and report["without"] == 0
    assert report["index"]["kind"] == "exact" and report["model"] == world.by.fingerprint


def test_positives_have_the_lowest_score_of_the_query_and_suspects_are_counted(tmp_path: Path) -> None:
    world, given = World(), problem()
    table = miner(tmp_path, depth=60, keep=50).mine(world.by)
    q, d = world(list(given.queries)), world(list(given.documents))
    lowest = [min(float(q[i] @ d[row]) for row in rows) for i, rows in enumerate(given.positives)]
    assert np.allclose(table.positive_score, lowest, atol=1e-6)
    lead = np.array(lowest)[:, None] - table.scores
    assert np.isclose(table.report["margin"], lead.mean(), atol=1e-6)
    assert np.isclose(table.report["suspects"], (lead <= 0).mean()) and 0 < table.report["suspects"] < 1


def test_filters_come_before_counting_and_a_query_with_fewer_keeps_fewer(tmp_path: Path) -> None:
    world = World()
    given = problem()
    strict = MarginToPositive(0.05, "relative")
    table = Miner(given, Search(depth=60, keep=30), VectorStore(tmp_path), filters=[strict]).mine(world.by)
    there = table.rows >= 0
    limit = table.positive_score - 0.05 * np.abs(table.positive_score)
    assert (table.scores[there] < np.repeat(limit[:, None], 30, 1)[there]).all()
    assert set(there.sum(axis=1).tolist()) != {30} and table.report["removed"]["relative margin"] > 0
    assert table.report["removed"]["known positives"] == 24


def test_a_query_without_positives_is_mined_too(tmp_path: Path) -> None:
    gathered = Assembly()
    gathered.query("query 0")
    for i in range(5):
        gathered.document(f"document {i}")
    table = miner(tmp_path, gathered.finish()).mine(World().by)
    assert np.isnan(table.positive_score).all() and table.report["negatives"] == 4
    assert table.report["margin"] is None and table.report["suspects"] == 0


def test_a_corpus_smaller_than_keep_gives_what_there_is(tmp_path: Path) -> None:
    table = miner(tmp_path, problem(3, 4, 1)).mine(World().by)
    assert (table.rows >= 0).sum(axis=1).tolist() == [3, 3, 3] and (table.scores[table.rows < 0] == -np.inf).all()


class Thread:
    """A team of threads."""

    def __init__(self, rank: int, world: int, barrier: threading.Barrier, board: list[Any]) -> None:
        self.rank, self.world, self._barrier, self._board = rank, world, barrier, board

    def barrier(self) -> None:
        self._barrier.wait()

    def collect(self, value: Any) -> list[Any]:
        self._board[self.rank] = value
        self._barrier.wait()
        found = list(self._board)
        self._barrier.wait()
        return found


def test_three_processes_find_what_one_finds_and_encode_every_text_once(tmp_path: Path) -> None:
    alone = miner(tmp_path / "one").mine(World().by)
    barrier, board, worlds = threading.Barrier(3), [None] * 3, [World() for _ in range(3)]
    found: list[Any] = [None] * 3

    def work(rank: int) -> None:
        search = Search(depth=20, keep=4)
        team = Thread(rank, 3, barrier, board)
        try:
            found[rank] = Miner(problem(), search, VectorStore(tmp_path / "three"), team=team).mine(worlds[rank].by)
        except Exception as error:
            failed.append(error)
            barrier.abort()  # the others would wait for good

    failed: list[Exception] = []
    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(3)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    if failed:
        raise failed[0]
    for table in found:
        for name in ("rows", "rank"):
            assert np.array_equal(getattr(table, name), getattr(alone, name))
        assert np.allclose(table.scores, alone.scores)
        for name in ("removed", "candidates", "negatives", "suspects"):
            assert table.report[name] == alone.report[name]
    asked = [text for world in worlds for text in world.asked]
    assert sorted(asked) == sorted([*problem().queries, *problem().documents])


def test_given_vectors_take_the_place_of_a_model(tmp_path: Path) -> None:
    world, given = World(), problem()
    views = By(ArrayView(world(list(given.queries))), ArrayView(world(list(given.documents))))
    assert pairs(miner(tmp_path).mine(views)) == pairs(miner(tmp_path).mine(world.by))
    wrong = By(ArrayView(np.ones((12, DIM + 1), np.float32)), views.document)
    with pytest.raises(DataError, match="dimensions"):
        miner(tmp_path).mine(wrong)


def test_the_model_that_changed_gets_none_of_the_old_vectors(tmp_path: Path) -> None:
    """sentence-transformers' miner keys its cache by the name of the model."""
    first, second = World("step 1"), World("step 2", turn=0.7)
    before = miner(tmp_path).mine(first.by)
    after = miner(tmp_path).mine(second.by)
    assert pairs(after) == naive(World(turn=0.7), problem(), 20, 4) != pairs(before)
    again = World("step 1")
    assert pairs(miner(tmp_path).mine(again.by)) == pairs(before) and again.asked == []


def test_scores_encode_only_what_is_asked_for(tmp_path: Path) -> None:
    world, given = World(), problem()
    rows = np.full((12, 2), -1)
    rows[:, 0], rows[3, 1] = 5, 9
    found = miner(tmp_path).scores(world.by, rows)
    assert set(world.asked) == {*given.queries, "document 5", "document 9"}
    q, d = world(list(given.queries)), world(list(given.documents))
    assert np.allclose(found[:, 0], q @ d[5]) and np.isclose(found[3, 1], q[3] @ d[9]) and found[2, 1] == -np.inf


def test_the_similarity_of_every_positive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK", 5)
    world, given = World(), problem()
    made = miner(tmp_path)
    scores = made.positive_scores(world.by)
    q, d = world(list(given.queries)), world(list(given.documents))
    assert np.allclose(scores, [q[i] @ d[row] for i, rows in enumerate(given.positives) for row in rows], atol=1e-6)
    assert np.allclose(scores.reshape(-1, 2).min(axis=1), made.mine(world.by).positive_score)
