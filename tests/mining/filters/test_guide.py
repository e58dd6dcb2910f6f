"""Another embedding model's cosine: only what is left is encoded, nothing twice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from embedkit.mining.filters import guide as module
from embedkit.mining.filters.guide import GuideScores
from embedkit.mining.filters.pairs import ByScore
from embedkit.mining.miner import Miner
from embedkit.recipe.filters import Rule
from embedkit.recipe.mining import Search
from embedkit.vectors.given import given_embedder
from embedkit.vectors.store import VectorStore
from embedkit.vectors.view import ArrayView
from tests.mining.worlds import DIM, World, problem


@pytest.mark.parametrize("floats", [1, 2**24])
def test_it_is_the_cosine_whatever_the_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, floats: int) -> None:
    monkeypatch.setattr(module, "_FLOATS", floats)
    world, given = World("guide"), problem()
    long = given_embedder(lambda texts: 7 * world(texts), name="long", dim=DIM)
    queries, rows = np.array([3, 0, 3, 3]), np.array([5, 9, 1, 5])
    found = GuideScores(given, long, long, VectorStore(tmp_path)).of(queries, rows)
    assert set(world.asked) == {"query 0", "query 3", "document 1", "document 5", "document 9"}
    q, d = world(list(given.queries)), world(list(given.documents))
    wanted = [q[i] @ d[row] for i, row in zip(queries, rows, strict=True)]
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    views = GuideScores(given, ArrayView(3 * q), ArrayView(d), VectorStore(tmp_path / "none"))
    np.testing.assert_allclose(views.of(queries, rows), wanted, atol=1e-6)


def test_gistembeds_rule_in_a_search(tmp_path: Path) -> None:
    """What the guide finds as similar as the lowest positive goes; no text is encoded twice by it."""
    world, guide, given = World(), World("guide", turn=0.6), problem()
    one = given_embedder(guide, name="guide", dim=DIM)
    scores = GuideScores(given, one, one, VectorStore(tmp_path))
    rule = ByScore("guide", scores, given.positives, Rule("absolute-margin", 0.0))
    search = Search(depth=20, keep=20)
    table = Miner(given, search, VectorStore(tmp_path), filters=[rule]).mine(world.by)
    again = Miner(given, search, VectorStore(tmp_path), filters=[rule]).mine(world.by)
    assert np.array_equal(table.rows, again.rows) and len(guide.asked) == len(set(guide.asked))
    q, d = guide(list(given.queries)), guide(list(given.documents))
    all_found = Miner(given, search, VectorStore(tmp_path)).mine(world.by)
    for i, answers in enumerate(given.positives):
        lowest = min(q[i] @ d[row] for row in answers)
        wanted = [row for row in all_found.negatives(i) if q[i] @ d[row] < lowest]
        assert table.negatives(i) == wanted
    assert 0 < table.report["removed"]["guide absolute-margin 0"] < all_found.report["negatives"]
