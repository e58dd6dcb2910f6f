"""Scores from a file: found by ids, and refused where a pair has none or two."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from embedkit.errors import DataError
from embedkit.mining.filters import score_file
from embedkit.mining.filters.score_file import FileScores
from embedkit.mining.problem import Problem

PROBLEM = Problem(["a", "b"], ["1", "q 2"], ["x", "y", "z"], ["7", "d 8", "9"], [(0,), ()])
ROWS = [("1", "7", 0.5), ("1", "d 8", -3.25), ("q 2", "9", 1e-9), ("1", "9", 2.0), ("other", "7", 8.0)]


def jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def as_rows(rows: list[tuple[Any, Any, Any]]) -> list[dict[str, Any]]:
    return [dict(zip(("query_id", "document_id", "score"), row, strict=True)) for row in rows]


@pytest.mark.parametrize("block", [2, 65_536])
def test_they_are_found_by_ids_in_any_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(score_file, "_BLOCK", block)
    columns = [list(column) for column in zip(*ROWS, strict=True)]
    names = ("query_id", "document_id", "score")
    parquet.write_table(pa.table(dict(zip(names, columns, strict=True))), tmp_path / "s.parquet")
    numbers = [(int(q) if q.isdigit() else q, int(d) if d.isdigit() else d, s) for q, d, s in ROWS]
    jsonl(tmp_path / "s.jsonl", as_rows(numbers))
    (tmp_path / "s.tsv").write_text("query_id\tdocument_id\tscore\n" + "".join(f"{q}\t{d}\t{s}\n" for q, d, s in ROWS))
    for file in ("s.parquet", "s.jsonl", "s.tsv"):
        found = FileScores(PROBLEM, tmp_path / file).of(np.array([0, 1, 0, 0]), np.array([1, 2, 0, 2]))
        assert found.tolist() == [-3.25, 1e-9, 0.5, 2.0], file


def test_a_pair_without_a_score_is_named(tmp_path: Path) -> None:
    scores = FileScores(PROBLEM, jsonl(tmp_path / "s.jsonl", as_rows(ROWS)))
    with pytest.raises(DataError) as error:
        scores.of(np.array([0, 1, 1]), np.array([0, 1, 0]))
    assert "2 of 3 pairs have no score, first query 'q 2', document 'd 8'" in str(error.value)


def test_ids_do_not_run_into_each_other(tmp_path: Path) -> None:
    given = Problem(["a", "b"], ["1 2", "1"], ["x", "y"], ["3", "2 3"], [(), ()])
    scores = FileScores(given, jsonl(tmp_path / "s.jsonl", as_rows([("1 2", "3", 1.0), ("1", "2 3", 2.0)])))
    assert scores.of(np.array([0, 1]), np.array([0, 1])).tolist() == [1.0, 2.0]


@pytest.mark.parametrize("block", [1, 65_536])
def test_a_pair_with_two_scores_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(score_file, "_BLOCK", block)
    file = jsonl(tmp_path / "s.jsonl", as_rows([("1", "7", 0.5), (1, 7, 0.6)]))
    with pytest.raises(DataError, match="stand there twice"):
        FileScores(PROBLEM, file)


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"query_id": "1", "document_id": "7", "score": None}, "score: a finite number is expected"),
        ({"query_id": "1", "document_id": "7", "score": "0.5"}, "score: a finite number is expected"),
        ({"query_id": "1", "document_id": "7", "score": True}, "score: a finite number is expected"),
        ({"query_id": None, "document_id": "7", "score": 1}, "no query_id"),
        ({"query_id": "1", "document_id": 1.5, "score": 1}, "document_id: a text or a whole number"),
    ],
)
def test_a_bad_row_is_refused(tmp_path: Path, row: dict[str, Any], told: str) -> None:
    with pytest.raises(DataError) as error:
        FileScores(PROBLEM, jsonl(tmp_path / "s.jsonl", [*as_rows(ROWS), row]))
    assert told in str(error.value)


def test_a_column_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no column 'document_id'"):
        FileScores(PROBLEM, jsonl(tmp_path / "s.jsonl", [{"query_id": 1, "doc_id": 2, "score": 3}]))
    with pytest.raises(DataError):
        FileScores(PROBLEM, tmp_path / "absent.parquet")
