"""What a pool does is what one process does, and is not done again; with a pool in this process."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embedkit.errors import DataError
from embedkit.mining import spreading
from embedkit.mining.filters.guide import GuideScores
from embedkit.mining.filters.spread_scores import SpreadScores, counted
from embedkit.mining.miner import By, Miner
from embedkit.mining.problem import Problem
from embedkit.mining.spreading import Spread, shards_of
from embedkit.mining.table import ARRAYS, MinedTable
from embedkit.recipe.mining import Search
from embedkit.vectors import encoding
from embedkit.vectors.given import given_vectors
from embedkit.vectors.shards import write_array
from embedkit.vectors.store import VectorStore
from tests.mining.worlds import World, problem
from tests.spread.cluster import Here


def mined(folder: Path, given: Problem, by: By, spread: Spread | None, **search: Any) -> MinedTable:
    options = Search(**{"depth": 20, "keep": 4, **search})
    return Miner(given, options, VectorStore(folder), method="faiss", spread=spread).mine(by)


def assert_same(a: MinedTable, b: MinedTable) -> None:
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows of 16 texts, waves of three, shards of 20 documents, blocks of 5 queries."""
    monkeypatch.setattr(encoding, "WINDOW", 16)
    monkeypatch.setattr(encoding, "WAVE", 3)
    monkeypatch.setattr(spreading, "LEAST", 20)
    monkeypatch.setattr(spreading, "BLOCK", 5)


def test_a_search_finds_what_one_process_finds_and_goes_on_where_it_was_cut_off(small: None, tmp_path: Path) -> None:
    given, world, pool = problem(), World(), Here()
    alone = mined(tmp_path / "alone", given, World().by, None)
    spread = Spread(pool, tmp_path / "parts")
    assert_same(mined(tmp_path / "store", given, world.by, spread), alone)
    assert Counter(world.asked) == Counter([*given.queries, *given.documents]), "every text once"
    names = sorted(path.name for path in (tmp_path / "parts").glob("*.npy"))
    assert len(names) == 3 and names[0].endswith("-00000-of-00003.npy")
    before = len(pool.done)
    (tmp_path / "parts" / names[1]).unlink()
    assert_same(mined(tmp_path / "store", given, World().by, spread), alone)
    assert len(pool.done) == before + 1 and pool.done[-1][0].name == names[1], "one shard, and no encoding"
    mined(tmp_path / "store", given, World().by, spread, depth=19)
    assert len(pool.done) == before + 1 + 3, "another depth is another search"
    mined(tmp_path / "store", given, World("b", 0.5).by, spread)
    assert len(pool.done) == before + 4 + 3 + 5, "and so is another model, whose texts are encoded"


def test_texts_that_repeat_are_encoded_once_and_errors_name_their_places(small: None, tmp_path: Path) -> None:
    texts = [f"text {i % 50}" for i in range(200)]
    world = World()
    by = world.by.query
    shelf = VectorStore(tmp_path).of(by.space)
    view = encoding.encode_spread(shelf, texts, by, Here())
    np.testing.assert_array_equal(view[:], world(texts))
    assert Counter(world.asked[: -len(texts)]) == Counter(set(texts))

    def broken(some: Any) -> np.ndarray:
        found = np.ones((len(some), 8))
        found[["text 149" in text for text in some]] = np.nan
        return found

    from embedkit.vectors.given import given_embedder

    one = given_embedder(broken, name="broken", dim=8)
    with pytest.raises(Exception, match="not finite") as caught:
        encoding.encode_spread(VectorStore(tmp_path).of(one.space), [f"text {i}" for i in range(200)], one, Here())
    assert caught.value.where == "text 149"  # type: ignore[attr-defined]
    assert not list(tmp_path.rglob(".embedkit-seen*"))


def test_a_machine_that_does_not_see_the_folder_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    by = World().by.query
    shelf = VectorStore(tmp_path / "here").of(by.space)
    monkeypatch.setattr(type(shelf), "folder", property(lambda self: tmp_path / "there"), raising=False)
    with shelf.marked() as mark:
        (tmp_path / "there" / mark).unlink()
        make = encoding._Encodes(tmp_path / "there", by.space, 1.0, by.remake, mark)
        with pytest.raises(DataError, match="does not see this folder") as caught:
            make()
    assert "all machines of the cluster share" in caught.value.cure


@pytest.mark.parametrize("ids", [True, False])
def test_given_vectors_are_searched_too(small: None, tmp_path: Path, ids: bool) -> None:
    given, world = problem(), World()
    order = np.random.default_rng(0).permutation(len(given.documents)) if ids else np.arange(len(given.documents))
    with (tmp_path / "d.npy").open("wb") as file:
        write_array(file, world([given.documents[i] for i in order]))
    named = {"ids": [given.document_ids[i] for i in order], "wanted": given.document_ids} if ids else {}
    by = By(world.by.query, given_vectors(tmp_path / "d.npy", **named))
    alone = mined(tmp_path / "alone", given, by, None)
    assert_same(mined(tmp_path / "store", given, by, Spread(Here(), tmp_path / "parts")), alone)


def test_shards_are_those_of_every_cluster_and_not_too_many() -> None:
    assert shards_of(10) == [range(10)] and len(shards_of(1_000_000)) == 15
    many = shards_of(10**9)
    assert len(many) == 256 and many[0].start == 0 and many[-1].stop == 10**9
    assert all(a.stop == b.start for a, b in pairwise(many))


def test_scores_are_those_of_one_process_and_a_chunk_that_is_there_is_not_scored_again(tmp_path: Path) -> None:
    pool = Here()
    pairs = [(f"q{i}", f"d{i % 7}") for i in range(25)]

    def lengths(some: Any) -> np.ndarray:
        return np.array([len(a) * 10 + len(b) for a, b in some], float)

    def make() -> Any:
        return lambda some, answers: (lengths(some), Counter({"met": len(some)}))

    notes: Counter[str] = Counter()
    scores = SpreadScores(Spread(pool, tmp_path / "parts"), make, "key", 10, notes)
    np.testing.assert_array_equal(scores(pairs), lengths(pairs))
    assert len(pool.done) == 3 and notes == {"met": 25}
    scores(pairs[:20])
    assert len(pool.done) == 3
    assert len(SpreadScores(Spread(pool, tmp_path / "parts"), make, "other", 10)(pairs)) == 25 and len(pool.done) == 6
    assert scores([]).shape == (0,)
    assert counted(lengths)(pairs[:2], tmp_path)[1] == {}


def test_a_process_has_a_gpu_unless_the_cpu_was_asked_for(tmp_path: Path) -> None:
    given, world = problem(), World()
    for device in ("auto", "cuda", "cpu"):

        class Makes:
            def __init__(self) -> None:
                self.device = device  # noqa: B023

            def __call__(self) -> World:
                return world

        pool = Here()
        by = replace(world.by.query, remake=Makes())
        miner = Miner(
            given, Search(), VectorStore(tmp_path / device), device=device, method="faiss",
            spread=Spread(pool, tmp_path / f"{device}-parts"),
        )  # fmt: skip
        if device != "cuda":
            miner.mine(By(by, by))
        else:
            encoding.encode_spread(VectorStore(tmp_path / device).of(by.space), given.queries, by, pool)
        assert set(pool.gpu) == {device != "cpu"}


def test_a_guide_encodes_by_the_pool(small: None, tmp_path: Path) -> None:
    given, world, pool = problem(), World(), Here()
    queries, rows = np.repeat(np.arange(12), 3), np.tile([5, 7, 40], 12)
    alone = GuideScores(given, world.by.query, world.by.query, VectorStore(tmp_path / "a"))
    spread = GuideScores(given, world.by.query, world.by.query, VectorStore(tmp_path / "b"), pool=pool)
    np.testing.assert_array_equal(spread.of(queries, rows), alone.of(queries, rows))
    assert len(pool.done) == 2
