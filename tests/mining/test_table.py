"""Mined negatives in memory and in a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from embedkit.errors import TrainingError
from embedkit.mining.table import MinedTable
from tests.mining.worlds import World, miner


def test_a_table_comes_back_as_it_was(tmp_path: Path) -> None:
    from dataclasses import replace

    table = miner(tmp_path / "store").mine(World().by)
    table = replace(table, version=3, update=40, state={"taken": np.arange(12)})
    table.write(tmp_path / "t.safetensors")
    back = MinedTable.read(tmp_path / "t.safetensors", 12)
    for name in ("rows", "scores", "rank", "positive_score"):
        assert np.array_equal(getattr(back, name), getattr(table, name))
    assert (back.version, back.update, back.state["taken"].tolist()) == (3, 40, list(range(12)))
    assert back.report == dict(table.report)


def test_what_changed_is_a_share_of_what_is_there() -> None:
    def table(rows: list[list[int]]) -> MinedTable:
        array = np.array(rows)
        return MinedTable(array, np.zeros(array.shape), array, np.zeros(len(array)))

    old, new = table([[1, 2], [3, -1]]), table([[2, 1], [4, -1]])
    assert new.changed(old) == pytest.approx(1 / 3) and new.changed(None) == 1 and old.changed(old) == 0
    assert old.negatives(1) == [3]


@pytest.mark.parametrize("damage", ["gone", "cut", "other queries", "other format"])
def test_a_table_that_does_not_fit_is_refused(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "t.safetensors"
    miner(tmp_path / "store").mine(World().by).write(path)
    if damage == "gone":
        path.unlink()
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-9])
    if damage == "other format":
        path.write_bytes(path.read_bytes().replace(b'"format":"1"', b'"format":"9"'))
    with pytest.raises(TrainingError) as error:
        MinedTable.read(path, 11 if damage == "other queries" else 12)
    assert error.value.where == str(path) and error.value.cure
