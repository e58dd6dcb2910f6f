"""Files of queries and documents: what is read, refused and counted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from embedkit.errors import DataError
from embedkit.mining.reading import Rows


def jsonl(path: Path, *rows: Any) -> Path:
    path.write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in rows))
    return path


def test_documents_have_title_and_text_and_an_id_of_either_name(tmp_path: Path) -> None:
    file = jsonl(
        tmp_path / "c.jsonl", {"_id": "a", "title": "T ", "text": " x"}, {"_id": 7, "title": None, "text": "y"}
    )
    found = list(Rows().documents(file))
    assert [(d.name, d.whole, d.text) for d in found] == [("a", "T x", "x"), (7, "y", "y")]
    assert [d.where for d in found] == [f"{file}:1", f"{file}:2"]
    (tmp_path / "c.tsv").write_text("id\ttext\n1\tx\n2\ty\n")
    assert [(d.name, d.whole) for d in Rows().documents(tmp_path / "c.tsv")] == [("1", "x"), ("2", "y")]
    (tmp_path / "c.txt").write_text("x\ny\n")
    assert [(d.name, d.whole) for d in Rows().documents(tmp_path / "c.txt")] == [(None, "x"), (None, "y")]


def test_queries_of_all_kinds(tmp_path: Path) -> None:
    several = jsonl(tmp_path / "q.jsonl", {"id": 1, "query": "q", "positives": ["a", "b"], "negative": "n", "score": 1})
    assert [(q.name, q.text, q.positives) for q in Rows().queries(several)] == [(1, "q", ("a", "b"))]
    bare = jsonl(tmp_path / "b.jsonl", {"_id": "x", "text": "q", "metadata": {}})
    assert [(q.name, q.text, q.positives) for q in Rows().queries(bare)] == [("x", "q", ())]
    parquet.write_table(pa.table({"query_id": ["x"], "query": ["q"], "positive": ["p"]}), tmp_path / "q.parquet")
    assert [(q.name, q.text, q.positives) for q in Rows().queries(tmp_path / "q.parquet")] == [("x", "q", ("p",))]


BAD = [
    ({"_id": "b"}, "no text"),
    ({"_id": "b", "text": " "}, "no text"),
    ({"_id": "b", "text": None}, "no text"),
    ({"_id": "b", "text": 5}, "text: a text is expected"),
    ({"_id": "b", "text": "x", "title": ["x"]}, "title: a text is expected"),
    ({"_id": "b", "text": "x\0"}, "a NUL character in its text"),
    ({"text": "x"}, "no _id"),
    ({"_id": 1.5, "text": "x"}, "_id: a text or a whole number is expected"),
    ({"_id": True, "text": "x"}, "_id: a text or a whole number is expected"),
    ("{", "malformed JSON"),
]


@pytest.mark.parametrize(("row", "reason"), BAD, ids=[str(row) for row, _ in BAD])
def test_a_bad_document_is_refused_with_its_line_or_counted(tmp_path: Path, row: Any, reason: str) -> None:
    file = jsonl(tmp_path / "c.jsonl", {"_id": "a", "text": "x"}, row, {"_id": "c", "text": "z"})
    with pytest.raises(DataError) as caught:
        list(Rows().documents(file))
    assert f"c.jsonl:2: {reason}" in str(caught.value) and "--skip-bad-rows" in caught.value.cure
    rows = Rows(skip=True)
    assert [d.name for d in rows.documents(file)] == ["a", "c"] and rows.bad.by_reason == {reason: 1}


def test_a_query_without_its_positive_is_refused_with_its_line_or_counted(tmp_path: Path) -> None:
    file = jsonl(
        tmp_path / "q.jsonl",
        {"query": "a", "positive": "x"},
        {"query": "b", "positive": None},
        {"query": "c", "positive": []},
        {"query": ""},
    )
    with pytest.raises(DataError, match="3 bad rows of 4") as caught:
        list(Rows().queries(file))
    assert "q.jsonl:2: null where text belongs in 'positive'" in str(caught.value)
    rows = Rows(skip=True)
    assert [q.text for q in rows.queries(file)] == ["a"] and rows.bad.counts.total() == 3


@pytest.mark.parametrize("name", ["c.jsonl", "c.csv", "c.txt", "c.parquet"])
def test_an_empty_corpus_is_refused(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    file.write_text("_id,text\n" if name == "c.csv" else "")
    if name == "c.parquet":
        parquet.write_table(pa.table({"text": pa.array([], pa.string())}), file)
    with pytest.raises(DataError, match=r"there are no (usable )?rows|the file is empty"):
        list(Rows().documents(file))


def test_a_missing_column_or_file_is_named(tmp_path: Path) -> None:
    file = jsonl(tmp_path / "c.jsonl", {"_id": "a", "txt": "x"})
    with pytest.raises(DataError, match=r"no column 'text'\n  cure: did you mean 'txt'\? columns: _id, txt"):
        list(Rows().documents(file))
    titles = jsonl(tmp_path / "t.jsonl", {"_id": "a", "text": "x"})
    with pytest.raises(DataError, match="no column 'title'"):
        list(Rows().documents(titles, titles=True))
    with pytest.raises(DataError, match="no such file"):
        list(Rows().documents(tmp_path / "no.jsonl"))
    with pytest.raises(DataError, match="no column is named query or text"):
        list(Rows().queries(jsonl(tmp_path / "q.jsonl", {"question": "a"})))
