"""One column of a file as texts: every format, what is refused, read once from front to back."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from embedkit.data import column as module
from embedkit.data.column import TextColumn
from embedkit.errors import DataError

TEXTS = ["ba de", 'a "quoted", text', "übér", "last"]


def write(folder: Path, form: str, texts: list[str] = TEXTS) -> Path:
    file = folder / f"t.{form}"
    if form == "txt":
        file.write_text("".join(f"{t}\n" for t in texts), encoding="utf-8")
    elif form == "jsonl":
        file.write_text("".join(json.dumps({"n": i, "text": t}) + "\n" for i, t in enumerate(texts)), encoding="utf-8")
    elif form == "jsonl.gz":
        file.write_bytes(gzip.compress(write(folder, "jsonl", texts).read_bytes()))
    elif form == "csv":
        with file.open("w", newline="", encoding="utf-8") as out:
            csv.writer(out).writerows([["n", "text"], *([i, t] for i, t in enumerate(texts))])
    elif form == "parquet":
        import pyarrow as pa
        from pyarrow import parquet

        parquet.write_table(pa.table({"n": list(range(len(texts))), "text": texts}), file)
    return file


@pytest.mark.parametrize("form", ["txt", "jsonl", "jsonl.gz", "csv", "parquet"])
def test_every_format_gives_the_same_texts(tmp_path: Path, form: str) -> None:
    found = TextColumn(write(tmp_path, form))
    assert len(found) == 4 and found[0:4] == TEXTS
    assert found[0:2] + found[2:3] + found[3:4] == TEXTS and found[1:3] == TEXTS[1:3] and found[4:4] == []
    assert found.digest == TextColumn(write(tmp_path, "jsonl")).digest, "the identity of a corpus is its texts"
    assert found.lines.tolist() == ([2, 3, 4, 5] if form == "csv" else [1, 2, 3, 4])
    assert list(found.ids()) == []


def test_ids_are_texts_or_numbers_and_part_of_the_identity(tmp_path: Path) -> None:
    plain, named = TextColumn(write(tmp_path, "jsonl")), TextColumn(write(tmp_path, "jsonl"), ids="n")
    assert list(named.ids()) == [0, 1, 2, 3] and plain.digest != named.digest
    assert list(TextColumn(write(tmp_path, "csv"), ids="n").ids()) == ["0", "1", "2", "3"]


def test_it_is_read_once_from_front_to_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found, passes = TextColumn(write(tmp_path, "txt", [f"text {i}" for i in range(100)])), []
    real = module.read
    monkeypatch.setattr(module, "read", lambda *a, **k: passes.append(1) or real(*a, **k))
    assert [t for start in range(0, 100, 7) for t in found[start : start + 7]] == [f"text {i}" for i in range(100)]
    assert len(passes) == 1
    assert found[20:22] == ["text 20", "text 21"] and found[22:24] == ["text 22", "text 23"] and len(passes) == 2


def test_the_sample_is_spread_over_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SAMPLE", 10)
    sample = TextColumn(write(tmp_path, "txt", [str(i + 1000) for i in range(333)])).sample
    assert 10 <= len(sample) <= 20 and sample == [str(i + 1000) for i in range(0, 333, 32)]


BAD = [
    ({"text": ""}, "empty text"),
    ({"text": " \u200b"}, "text without a visible character"),
    ({"text": "a\0b"}, "a NUL character"),
    ({"text": None}, "no text"),
    ({"other": "x"}, "no text"),
    ({"text": 3}, "text: a text is expected"),
    ({"text": ["x"]}, "text: a text is expected"),
    ({"text": "x", "n": None}, "no n"),
    ({"text": "x"}, "no n"),
    ({"text": "x", "n": 1.5}, "n: a text or a whole number is expected"),
    ({"text": "x", "n": True}, "n: a text or a whole number is expected"),
]


@pytest.mark.parametrize(("row", "reason"), BAD)
def test_bad_rows_are_refused_or_counted(tmp_path: Path, row: dict[str, Any], reason: str) -> None:
    file = tmp_path / "t.jsonl"
    rows = [{"text": "good", "n": "a"}, row, {"text": "good too", "n": 7}]
    file.write_text("".join(json.dumps(r) + "\n" for r in rows))
    ids = "n" if " n" in reason or reason.startswith("n:") else None
    with pytest.raises(DataError) as caught:
        TextColumn(file, ids=ids)
    assert f"t.jsonl:2: {reason}" in str(caught.value)
    found = TextColumn(file, ids=ids, skip=True)
    assert found[0:9] == ["good", "good too"] and found.lines.tolist() == [1, 3]
    assert found.bad.by_reason == {reason: 1} and list(found.ids()) == (["a", 7] if ids else [])


def test_blank_lines_count_as_lines(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("a\n\nb\n")
    assert TextColumn(tmp_path / "t.txt", skip=True).lines.tolist() == [1, 3]


@pytest.mark.parametrize(
    ("content", "options", "what"),
    [
        ("", {}, "the file is empty|has no rows"),
        ("[]\n", {}, "1 bad row of 1"),
        ("[]\n", {"skip": True}, "no usable rows"),
        ('{"txet": "a"}\n', {}, "no column 'text'"),
        ('{"text": "a"}\n', {"ids": "id"}, "no column 'id'"),
        ('{"text": ""}\n', {"skip": True}, "there are no usable rows; skipped: {'empty text': 1}"),
    ],
)
def test_files_without_texts(tmp_path: Path, content: str, options: dict[str, Any], what: str) -> None:
    (tmp_path / "t.jsonl").write_text(content)
    with pytest.raises(DataError, match=what):
        TextColumn(tmp_path / "t.jsonl", **options)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        TextColumn(tmp_path / "t.txt")
    with pytest.raises(DataError, match="no such file"):
        TextColumn(tmp_path)
    (tmp_path / "empty.txt").touch()
    with pytest.raises(DataError, match="has no rows"):
        TextColumn(tmp_path / "empty.txt")
