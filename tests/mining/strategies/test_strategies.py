"""What becomes of negatives at a refresh."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from embedkit.mining.strategies.ance import Ance
from embedkit.mining.strategies.base import Occasion, Strategy
from embedkit.mining.strategies.conan import Conan
from embedkit.mining.strategies.curriculum import Curriculum
from embedkit.mining.strategies.static import Static
from embedkit.mining.table import MinedTable
from tests.mining.worlds import World, miner, problem


def refreshed(folder: Path, strategy: Strategy, worlds: list[World], **search: object) -> list[MinedTable]:
    tables: list[MinedTable] = []
    for number, world in enumerate(worlds):
        occasion = Occasion(number, len(worlds), world.by, tables[-1] if tables else None)
        tables.append(strategy.refresh(miner(folder, **search), occasion))
    return tables


MODELS = [World("0"), World("1", turn=0.4), World("2", turn=0.8)]


def test_static_never_looks_again(tmp_path: Path) -> None:
    first, *rest = refreshed(tmp_path, Static(), MODELS)
    assert all(table is first for table in rest) and Static().once


def test_ance_gives_the_newest_models_negatives(tmp_path: Path) -> None:
    tables = refreshed(tmp_path, Ance(), MODELS)
    for table, world in zip(tables, MODELS, strict=True):
        assert np.array_equal(table.rows, miner(tmp_path).mine(world.by).rows)
    assert tables[1].changed(tables[0]) > 0.2


def test_the_curriculum_moves_its_window(tmp_path: Path) -> None:
    strategy = Curriculum((11, 20), (1, 6))
    tables = refreshed(tmp_path, strategy, MODELS)
    for table, (low, high) in zip(tables, [(11, 20), (6, 13), (1, 6)], strict=True):
        ranks = table.rank[table.rows >= 0]
        assert low <= ranks.min() and ranks.max() <= high
    assert strategy.window(0, 1).first == 11


def by_hand(folder: Path, strategy: tuple[float, float], worlds: list[World], keep: int) -> list[list[list[int]]]:
    """Conan's rule, query by query."""
    factor, below = strategy
    given = problem()
    ranking = miner(folder, keep=20).mine(worlds[0].by).rows
    lists = [[int(r) for r in row if r >= 0] for row in ranking]
    at = [0] * len(lists)

    def mean(world: World, query: int) -> float:
        docs = world([given.documents[r] for r in lists[query][at[query] : at[query] + keep]])
        return float((docs @ world([given.queries[query]])[0]).mean())

    came = [mean(worlds[0], i) for i in range(len(lists))]
    shown = [[lists[i][:keep] for i in range(len(lists))]]
    for world in worlds[1:]:
        for i in range(len(lists)):
            now = mean(world, i)
            if came[i] > 0 and factor * now < came[i] and abs(now) < below and at[i] + 2 * keep <= len(lists[i]):
                at[i] += keep
                came[i] = mean(world, i)
        shown.append([lists[i][at[i] : at[i] + keep] for i in range(len(lists))])
    return shown


@pytest.mark.parametrize(("factor", "below"), [(1.15, 0.8), (1.15, 0.2), (3.0, 0.8)])
def test_conan_walks_down_the_first_ranking_where_negatives_became_easy(
    tmp_path: Path, factor: float, below: float
) -> None:
    worlds = [*MODELS, World("3", turn=1.0), World("4", turn=0.1)]
    tables = refreshed(tmp_path / "a", Conan(factor, below), worlds)
    expected = by_hand(tmp_path / "b", (factor, below), worlds, 4)
    assert [t.rows.tolist() for t in tables] == expected
    replaced = [t.report.get("replaced", 0) for t in tables[1:]]
    assert sum(replaced) > 0 or below == 0.2 or factor == 3.0


def test_conan_encodes_only_queries_and_their_negatives(tmp_path: Path) -> None:
    first, second = World("0"), World("1", turn=0.4)
    tables = refreshed(tmp_path, Conan(), [first, second])
    given = problem()
    allowed = {given.documents[r] for t in tables for r in t.rows.ravel().tolist() if r >= 0} | set(given.queries)
    assert set(second.asked) <= allowed and len(set(second.asked)) < len(given.documents)


def test_conan_goes_on_from_a_table_that_was_written(tmp_path: Path) -> None:
    tables = refreshed(tmp_path / "a", Conan(), MODELS)
    tables[1].write(tmp_path / "t")
    back = MinedTable.read(tmp_path / "t", 12)
    again = Conan().refresh(miner(tmp_path / "a"), Occasion(2, 3, MODELS[2].by, back))
    assert np.array_equal(again.rows, tables[2].rows)
