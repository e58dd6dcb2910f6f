"""Documents that score as high as a positive: which are counted, and which are kept to be looked at."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from embedkit.mining.filters.scores import RankWindow
from embedkit.mining.miner import Miner
from embedkit.mining.suspects import Suspects
from embedkit.recipe.mining import Search
from embedkit.vectors.store import VectorStore
from tests.mining.worlds import World, problem


def mined(folder: Path, most: int = 5) -> tuple[Suspects, list[tuple[float, int, int, int, str]]]:
    """The suspects of a search, and (lead, query, row, rank, fate) of all as a naive search finds them."""
    given, world = problem(), World()
    found = Suspects(given, most)
    search = Search(depth=30, keep=3)
    Miner(given, search, VectorStore(folder), filters=[RankWindow(2, None)]).mine(world.by, seen=found)
    q, d = world(list(given.queries)), world(list(given.documents))
    naive = []
    for i, scores in enumerate(q @ d.T):
        order = np.argsort(-scores, kind="stable")[:30].tolist()
        lowest = min(scores[row] for row in given.positives[i])
        left = [row for rank, row in enumerate(order, 1) if rank > 1 and row not in given.positives[i]]
        for rank, row in enumerate(order, 1):
            if scores[row] >= lowest and row not in given.positives[i]:
                fate = "negative" if row in left[:3] else "not chosen" if row in left else "filtered"
                naive.append((float(scores[row] - lowest), i, row, rank, fate))
    return found, naive


def test_all_are_counted_by_what_became_of_them(tmp_path: Path) -> None:
    found, naive = mined(tmp_path)
    fates = [fate for *_, fate in naive]
    assert found.counts == {fate: fates.count(fate) for fate in ("negative", "not chosen", "filtered")}
    assert min(found.counts.values()) > 0


def test_the_widest_leads_are_kept_one_a_query_negatives_first(tmp_path: Path) -> None:
    found, naive = mined(tmp_path)
    kept = [(s.query, s.row, s.rank, s.fate) for s in found.worst]
    assert [fate == "negative" for *_, fate in kept] == [True] * 5 + [False] * 5
    for part, wanted in ((kept[:5], True), (kept[5:], False)):
        best: dict[int, tuple[float, int, int, int, str]] = {}
        for suspect in sorted(naive, reverse=True):
            if (suspect[4] == "negative") is wanted:
                best.setdefault(suspect[1], suspect)
        assert part == [suspect[1:] for suspect in sorted(best.values(), reverse=True)[:5]]
    assert all(np.isclose(s.lead, s.score - s.positive_score) and s.lead >= 0 for s in found.worst)
