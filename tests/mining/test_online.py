"""Negatives that change while a model trains, without a model and without a trainer."""

from __future__ import annotations

from pathlib import Path

from embedkit.mining.online import OnlineNegatives
from embedkit.mining.schedule import schedule
from embedkit.mining.strategies.ance import Ance
from embedkit.types import Example
from tests.mining.worlds import World, miner


def online(folder: Path, world: World) -> OnlineNegatives:
    turns = schedule(0, 2, 0, 6)
    return OnlineNegatives({3: miner(folder / "store")}, Ance(), turns, folder / "mined", lambda: world.by)


def test_only_mined_sources_get_negatives_and_a_teachers_scores_of_others_go(tmp_path: Path) -> None:
    negatives = online(tmp_path, World())
    given = [Example("query 0", ("document 0",), ("a", "b"), (0.9, 0.1, 0.2), weights=(0.5,))]
    assert negatives.join(3, given) == given, "nothing was searched for yet"
    negatives.before(0)
    (joined,) = negatives.join(3, given)
    table = negatives.tables[3]
    assert joined.negatives == tuple(f"document {row}" for row in table.rows[0]) and joined.scores == (0.9,)
    assert joined.weights == (0.5,), "a labelled list keeps its weights"
    assert negatives.join(4, given) == given


def test_what_is_measured_before_has_as_many_negatives_and_leaves_no_trace(tmp_path: Path) -> None:
    world = World()
    negatives = online(tmp_path, world)
    given = [Example(f"query {i}", (f"document {7 * i}",)) for i in range(12)]
    with negatives.stand_ins():
        assert [len(set(e.negatives)) for e in negatives.join(3, given)] == [4] * 12
    assert negatives.join(3, given) == given and world.asked == []


def test_versions_follow_the_model_and_an_update_begins_its_search_once(tmp_path: Path) -> None:
    world = World()
    negatives = online(tmp_path, world)
    for update in range(6):
        world.name, world.turn = str(update), update / 6
        negatives.before(update)
        negatives.before(update)
        assert negatives.tables[3].version == update // 2 and negatives.tables[3].update == update // 2 * 2
    assert len(list((tmp_path / "mined").glob("update-*"))) == 3
