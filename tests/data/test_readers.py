from __future__ import annotations

import gzip

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embedkit.data.readers import columns_of, format_of, read
from embedkit.errors import DataError, RecipeError


def write(path, content):
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def rows(path, form, **options):
    return [(r.line, r.values if r.values is not None else r.reason) for r in read(path, form, **options)]


JSONL = b"\n".join(
    [
        b'{"query": "a", "n": 1}',
        b'{"query": "b"',
        b"[1, 2]",
        b'{"query": "caf\xe9"}',
        b"",
        b'{"query": "\xe2\x80\xa8 in it"}',
        b"",
        b"",
    ]
)


def test_jsonl_bad_lines_have_reason_and_line(tmp_path):
    path = write(tmp_path / "a.jsonl", JSONL)
    assert rows(path, "jsonl") == [
        (1, {"query": "a", "n": 1}),
        (2, "malformed JSON"),
        (3, "not a JSON object"),
        (4, "broken encoding"),
        (5, "empty line"),
        (6, {"query": "\u2028 in it"}),
    ]
    assert columns_of(path, "jsonl") == ["query", "n"]


def test_tsv_takes_quotes_as_they_are(tmp_path):
    path = write(tmp_path / "a.tsv", 'score\ttext\n1\t"open\n\n2\tit\'s\tmore\n3\t""\n\n\n')
    assert columns_of(path, "tsv") == ["score", "text"]
    assert rows(path, "tsv") == [
        (2, {"score": "1", "text": '"open'}),
        (3, "empty line"),
        (4, "3 columns where the header has 2"),
        (5, {"score": "3", "text": '""'}),
    ]


def test_csv_rows_over_several_lines_keep_the_numbers_right(tmp_path):
    text = 'query,positive\r\n"a\r\nb","c, ""d"""\r\n\r\ne,f,g\r\nh,"i" j\r\nk,l\r\nm,"open\r\n'
    path = write(tmp_path / "a.csv", text)
    found = rows(path, "csv")
    assert found[:3] == [
        (2, {"query": "a\r\nb", "positive": 'c, "d"'}),
        (4, "empty line"),
        (5, "3 columns where the header has 2"),
    ]
    assert found[3][0] == 6 and found[3][1].startswith("malformed CSV")
    assert found[4] == (7, {"query": "k", "positive": "l"})
    assert found[5][0] == 8 and "unexpected end of data" in found[5][1]
    assert len(found) == 6


def test_csv_takes_documents_longer_than_the_modules_limit(tmp_path):
    path = write(tmp_path / "a.csv", "query\n" + "x" * 200_000 + "\n")
    assert len(rows(path, "csv")[0][1]["query"]) == 200_000


def test_txt_lines(tmp_path):
    path = write(tmp_path / "a.txt", "one\r\ntwo\n \nthree\x85still three\n\n")
    assert rows(path, "txt") == [
        (1, {"text": "one"}),
        (2, {"text": "two"}),
        (3, "empty line"),
        (4, {"text": "three\x85still three"}),
    ]


def test_parquet_reads_the_columns_asked_for(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"query": ["a", None], "negatives": [["x"], []], "big": [1, 2]}), path)
    assert columns_of(path, "parquet") == ["query", "negatives", "big"]
    assert rows(path, "parquet", columns=["query", "negatives"]) == [
        (1, {"query": "a", "negatives": ["x"]}),
        (2, {"query": None, "negatives": []}),
    ]


@pytest.mark.parametrize("form", ["jsonl", "tsv", "csv", "txt", "parquet"])
def test_gzip_is_found_by_content(tmp_path, form):
    plain = tmp_path / f"a.{form}"
    if form == "parquet":
        pq.write_table(pa.table({"text": ["a", "b"]}), plain)
    else:
        plain.write_text({"jsonl": '{"text": "a"}\n{"text": "b"}'}.get(form, "text\na\nb\n"))
    zipped = write(tmp_path / f"b.{form}.gz", gzip.compress(plain.read_bytes()))
    assert format_of(zipped) == form
    assert rows(zipped, form) == rows(plain, form)
    assert columns_of(zipped, form) == ["text"]


def test_byte_order_mark_and_other_encodings(tmp_path):
    path = write(tmp_path / "a.csv", "\ufeffquery\nà\n".encode())
    assert rows(path, "csv") == [(2, {"query": "à"})]
    for encoding in ("latin-1", "utf-16"):
        path = write(tmp_path / "b.csv", "query\nà\n".encode(encoding))
        assert rows(path, "csv", encoding=encoding) == [(2, {"query": "à"})]
    with pytest.raises(RecipeError, match="unknown encoding 'utf-9'"):
        rows(path, "csv", encoding="utf-9")


def test_files_that_cannot_be_read_at_all(tmp_path):
    with pytest.raises(DataError, match=r"nothing\.csv: cannot be opened: No such file"):
        rows(tmp_path / "nothing.csv", "csv")
    with pytest.raises(DataError, match=r"e\.tsv:1: no header: the file is empty"):
        columns_of(write(tmp_path / "e.tsv", ""), "tsv")
    with pytest.raises(DataError, match="names 'a' twice"):
        columns_of(write(tmp_path / "t.tsv", "a\tb\ta\n"), "tsv")
    with pytest.raises(DataError, match="not a readable Parquet file"):
        columns_of(write(tmp_path / "p.parquet", "PAR1 no"), "parquet")
    cut = gzip.compress("\n".join(str(i) for i in range(10_000)).encode())[:-2000]
    with pytest.raises(DataError, match="gzip stream is broken"):
        rows(write(tmp_path / "c.txt.gz", cut), "txt")
    with pytest.raises(DataError, match=r"ending '\.json' does not say the format"):
        format_of(tmp_path / "a.json")
