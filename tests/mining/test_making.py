"""Miners made of a recipe's block as plain data, in whatever folder and process that happens."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from embedkit.errors import DataError
from embedkit.mining.making import key_of, made_miner, settings_of
from embedkit.recipe.mining import Mining
from embedkit.recipe.reading.settle import settle
from tests.mining.worlds import World, problem


def test_files_of_filters_are_found_from_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = problem()
    recipe, other = tmp_path / "recipe", tmp_path / "other"
    for folder in (recipe, other):
        folder.mkdir()
    pairs = [
        {"query_id": q, "document_id": d, "score": (i + j) % 10}
        for i, q in enumerate(given.query_ids)
        for j, d in enumerate(given.document_ids)
    ]
    (recipe / "s.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    block = Mining(filters=("rank=2:", "scores=s.jsonl,below=4"), depth=30, keep=30)
    monkeypatch.chdir(other)
    settings = json.loads(json.dumps(settings_of(settle(block, recipe))))  # what a search in another process reads
    assert settings["filters"] == list(block.filters)
    table = made_miner(given, settings, tmp_path / "run", "cpu").mine(World().by)
    assert table.report["negatives"] > 0
    assert all((i + row) % 10 < 4 for i in range(len(table)) for row in table.negatives(i))
    assert key_of(settings) == key_of(settings_of(block)), "where a file lies decides nothing"
    with pytest.raises(DataError, match=r"^s\.jsonl \(looked in "):
        made_miner(given, settings_of(block), tmp_path / "run", "cpu")
