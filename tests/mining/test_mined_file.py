"""The Parquet file of mined negatives: what is in it, who reads it, what is refused."""

from __future__ import annotations

import json
import resource
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyarrow import parquet

from embedkit import __version__
from embedkit.data.sources import load_source
from embedkit.errors import DataError, WriteError
from embedkit.inputs.parquet import MINED
from embedkit.mining import mined_file
from embedkit.mining.problem import Problem
from embedkit.mining.table import MinedTable
from embedkit.recipe.schema import Source

INF = np.inf
PROBLEM = Problem(
    ["q0", "q1", "q2"],
    ["a", "b", "c"],
    [f"text {i}" for i in range(5)],
    [f"d{i}" for i in range(5)],
    [(0, 1), (2,), ()],
)
TABLE = MinedTable(
    np.array([[3, 4], [0, -1], [-1, -1]]),
    np.array([[0.5, 0.25], [0.75, -INF], [-INF, -INF]], np.float32),
    np.array([[2, 4], [1, 0], [0, 0]]),
    np.array([0.125, 0.5, np.nan], np.float32),
)
SCORES = np.array([0.875, 0.125, 0.5], np.float32)


def write(path: Path, **about: Any) -> Path:
    mined_file.write(path, mined_file.blocks(PROBLEM, TABLE, SCORES), about)
    return path


def test_a_row_for_each_query_and_positive(tmp_path: Path) -> None:
    rows = parquet.read_table(write(tmp_path / "m.parquet")).to_pylist()
    first = {"query_id": "a", "query": "q0", "negative_id": ["d3", "d4"], "negative": ["text 3", "text 4"]}
    first |= {"negative_score": [0.5, 0.25], "negative_rank": [2, 4]}
    one = {"negative_id": ["d0"], "negative": ["text 0"], "negative_score": [0.75], "negative_rank": [1]}
    none = {"negative_id": [], "negative": [], "negative_score": [], "negative_rank": []}
    assert rows == [
        {**first, "positive_id": "d0", "positive": "text 0", "positive_score": 0.875},
        {**first, "positive_id": "d1", "positive": "text 1", "positive_score": 0.125},
        {"query_id": "b", "query": "q1", "positive_id": "d2", "positive": "text 2", "positive_score": 0.5, **one},
        {"query_id": "c", "query": "q2", "positive_id": None, "positive": None, "positive_score": None, **none},
    ]


@pytest.mark.parametrize("texts", [1, 8, 12])
def test_groups_of_rows_do_not_change_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, texts: int) -> None:
    whole = parquet.read_table(write(tmp_path / "a.parquet"))
    monkeypatch.setattr(mined_file, "TEXTS", texts)
    parts = write(tmp_path / "b.parquet")
    assert parquet.read_table(parts).equals(whole)
    assert parquet.ParquetFile(parts).num_row_groups == {1: 4, 8: 2, 12: 2}[texts]


def test_training_reads_it_and_takes_no_similarity_for_a_target(tmp_path: Path) -> None:
    source = Source(path=str(write(tmp_path / "m.parquet")), on_bad_row="skip")
    loaded = load_source(source)
    assert loaded.roles == {"query", "positive", "negative"} and loaded.rows == 3 and loaded.max_negatives == 2
    assert loaded.unused == (
        "query_id",
        "positive_id",
        "negative_id",
        "positive_score",
        "negative_score",
        "negative_rank",
    )
    examples = loaded.get(range(3))
    assert [e.negatives for e in examples] == [("text 3", "text 4"), ("text 3", "text 4"), ("text 0",)]
    assert len(examples[0].known) == 2 and not any(e.scores for e in examples)


def test_datasets_reads_it(tmp_path: Path) -> None:
    import datasets

    file = write(tmp_path / "m.parquet", model={"name": "x"})
    found = datasets.load_dataset("parquet", data_files=str(file), split="train", cache_dir=str(tmp_path / "cache"))
    assert found.column_names == mined_file.SCHEMA.names
    assert found[2]["negative"] == ["text 0"] and found[3]["positive"] is None


def test_it_says_how_it_was_made(tmp_path: Path) -> None:
    about = {"embedkit": __version__, "filters": {"known positives": 3}, "settings": {"depth": 4}}
    assert mined_file.read_about(write(tmp_path / "m.parquet", **about)) == {"format": "1", **about}


@pytest.mark.parametrize(
    ("metadata", "what"),
    [
        ({MINED: json.dumps({"format": "0"})}, "written by another version of embedkit: format 0"),
        ({MINED: json.dumps({"format": 2})}, "written by another version of embedkit: format 2"),
        ({MINED: "{"}, "damaged"),
        ({MINED: "[]"}, "damaged"),
    ],
)
def test_a_file_of_another_version_is_refused_by_all_that_read_it(tmp_path: Path, metadata: Any, what: str) -> None:
    table = parquet.read_table(write(tmp_path / "m.parquet")).replace_schema_metadata(metadata)
    parquet.write_table(table, tmp_path / "old.parquet")
    with pytest.raises(DataError, match=what):
        mined_file.read_about(tmp_path / "old.parquet")
    with pytest.raises(DataError, match=what):
        load_source(Source(path=str(tmp_path / "old.parquet"), on_bad_row="skip"))


def test_another_file_has_no_mined_negatives(tmp_path: Path) -> None:
    table = parquet.read_table(write(tmp_path / "m.parquet")).replace_schema_metadata({})
    parquet.write_table(table, tmp_path / "plain.parquet")
    with pytest.raises(DataError, match="has no mined negatives"):
        mined_file.read_about(tmp_path / "plain.parquet")


def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path / "m.parquet")
    before = file.read_bytes()
    monkeypatch.setattr(mined_file, "TEXTS", 1)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (600, hard))
    try:
        with pytest.raises(WriteError):
            write(file, note="x" * 2000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert file.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["m.parquet"]
