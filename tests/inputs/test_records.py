"""Rows of files: sound, broken, hidden behind an encoding, and without bound."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedkit.errors import DataError, RecipeError
from embedkit.inputs.lines import CARRIAGE_RETURN, TOO_LONG, Blank
from embedkit.inputs.opening import unreadable
from embedkit.inputs.quotes import DOUBTFUL, LONG
from embedkit.inputs.records import columns_of, count, format_of, read

CELL = st.text(st.sampled_from('ab ,"\n\t;é'), max_size=12)


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
    assert found[5] == (8, "a quote opens here and is not closed in its row")
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


# What hides or has no bound ---------------------------------------------------------------------------------------

PAIRS = [(f"question {i}", f"answer {i}") for i in range(40)]


def csv_of(*lines):
    return "query,positive\n" + "".join(f"{line}\n" for line in lines)


def plain(first, last):
    return [f"q{i},a{i}" for i in range(first, last)]


def good(path, form="csv"):
    return [tuple(r.values.values()) for r in read(path, form) if r.values is not None]


def bad(path, form="csv"):
    return [(r.line, r.reason, r.lines) for r in read(path, form) if r.values is None]


@pytest.mark.parametrize(
    "closing",
    [
        [],  # never
        ['"x, y",z'],  # at the first quote of a sound row
        ['x "y" z,w'],  # inside a field of a later row
        ['another 5",z'],  # at a stray quote that fits the number of columns
        ['"an inch,z'],  # at a quote that is open itself
        ['"",z'],  # passes over a doubled quote
    ],
)
@pytest.mark.parametrize("between", [1, 5, 30])
def test_an_open_quote_costs_its_own_row_alone(tmp_path, closing, between):
    lines = [*plain(0, 3), '"a 5 inch,pipe', *plain(3, 3 + between), *closing, *plain(50, 60)]
    path = write(tmp_path / "a.csv", csv_of(*lines))
    found = good(path)
    wide_enough = between >= 5 or closing != ['another 5",z']
    if not wide_enough:  # formally one sound row of three lines: taken, and told of
        assert [r.note for r in read(path, "csv") if r.note] == [DOUBTFUL]
        return
    for i in [*range(3), *range(3, 3 + between), *range(50, 60)]:
        assert (f"q{i}", f"a{i}") in found
    assert bad(path)[0] == (5, "a quote opens here and is not closed in its row", 1)
    assert len(found) + len(bad(path)) == len(lines) == count(path, "csv")
    assert len(bad(path)) == 1 + (closing == ['"an inch,z'])


def test_an_open_quote_before_more_lines_than_a_record_may_have(tmp_path, monkeypatch):
    monkeypatch.setattr("embedkit.inputs.quotes.RECORD_LINES", 10)
    path = write(tmp_path / "a.csv", csv_of('"a 5 inch,pipe', *plain(0, 50)))
    assert len(good(path)) == 50 and [line for line, *_ in bad(path)] == [2]
    path = write(tmp_path / "b.csv", csv_of('"a poem,', *["no row"] * 50))
    with pytest.raises(DataError, match=r"b\.csv:2: a quote opens here and is not closed within 10 lines"):
        rows(path, "csv")


def test_sound_fields_over_many_lines_stay_whole_and_are_told_of(tmp_path):
    verse = "roses, red\nviolets, blue\nand, so\non, it\ngoes\nand goes"
    path = write(tmp_path / "a.csv", csv_of(f'"{verse}",x', '"two\nlines",y', 'z,"12 Main St\nLondon"', '"a,\nb",c'))
    assert good(path) == [(verse, "x"), ("two\nlines", "y"), ("z", "12 Main St\nLondon"), ("a,\nb", "c")]
    assert [(r.line, r.lines, r.note) for r in read(path, "csv")] == [
        (2, 6, LONG),
        (8, 2, ""),
        (10, 2, ""),
        (12, 2, DOUBTFUL),
    ]
    one = write(tmp_path / "b.csv", "text\n" + '"' + "line\n" * 30 + 'end"\nnext\n')
    assert [r.values["text"].count("\n") for r in read(one, "csv")] == [30, 0]


def test_a_record_that_is_bad_as_a_whole_says_how_many_lines_are_lost(tmp_path):
    path = write(tmp_path / "a.csv", csv_of('"one\ntwo\nthree" oops,x', "a,b", '"one\ntwo",x,y', "c,d"))
    assert good(path) == [("a", "b"), ("c", "d")]
    assert [(line, lines) for line, _, lines in bad(path)] == [(2, 3), (6, 2)]


@given(st.lists(st.tuples(CELL, CELL), min_size=1, max_size=12))
@settings(max_examples=200)
def test_what_the_csv_module_writes_is_read_back(tmp_path_factory, table):
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("query", "positive"), *table])
    kept = [row for row in table if any(field.strip() for field in row)]
    assert [row for row in good(path) if any(field.strip() for field in row)] == kept


@pytest.mark.parametrize("form", ["txt", "jsonl", "csv", "tsv"])
def test_counting_agrees_with_reading(tmp_path, form):
    content = {
        "txt": "a\n\nb\n \n\n",
        "jsonl": '{"a": 1}\n\n{"a"\n\n',
        "csv": 'a,b\n"x\ny",z\n\n"open,c\nd,e\n\n\n',
        "tsv": 'a\tb\n\nc\td\n"\n\n',
    }[form]
    for path in (write(tmp_path / f"a.{form}", content), write(tmp_path / f"b.{form}", content.rstrip())):
        assert count(path, form) == len(rows(path, form)) > 1


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("form", ["txt", "csv", "jsonl", "tsv"])
def test_blank_lines_without_end_are_refused(tmp_path, monkeypatch, form, zipped):
    monkeypatch.setattr("embedkit.inputs.lines.BLANK_LINES", 100)
    content = {"jsonl": '{"a": 1}\n'}.get(form, "a,b\n").encode()
    assert len(rows(write(tmp_path / f"few.{form}", content + b"\n" * 100), form)) <= 1
    content += b"\n" * 101
    path = write(tmp_path / f"many.{form}", gzip.compress(content) if zipped else content)
    with pytest.raises(DataError, match=rf"many\.{form}:2: more than 100 blank lines in a row"):
        rows(path, form)


def test_blank_lines_are_not_held_one_by_one(tmp_path):
    blank = Blank(tmp_path)
    for number in range(1, 100_000):
        blank.add(number)
    assert vars(blank) == {"path": tmp_path, "first": 1, "count": 99_999}
    assert blank.flush() == range(1, 100_000) and not blank.flush()


@pytest.mark.parametrize("form", ["txt", "csv", "jsonl", "tsv"])
def test_a_line_without_end_is_a_bad_row_and_is_not_held(tmp_path, monkeypatch, form):
    monkeypatch.setattr("embedkit.inputs.lines.LINE", 1000)
    first, last = {"jsonl": ('{"a": 1}', '{"a": 2}')}.get(form, ("a", "b"))
    path = write(tmp_path / f"a.{form}", f"{first}\n{'x' * 5000}\n{last}\n")
    found = rows(path, form)
    assert found[-2] == (2, TOO_LONG) and found[-1][0] == 3 and isinstance(found[-1][1], dict)


def test_gzip_that_unpacks_without_measure_is_refused(tmp_path, monkeypatch):
    path = write(tmp_path / "a.jsonl.gz", gzip.compress(b'{"text": "a"}\n' * 200_000))
    assert count(path, "jsonl") == 200_000
    monkeypatch.setattr("embedkit.inputs.opening.UNPACKED", 1_000_000)
    with pytest.raises(DataError, match=r"a\.jsonl\.gz: unpacks to more than .* 200 times its size"):
        count(path, "jsonl")
    with pytest.raises(DataError, match="unpacks to more than"):
        rows(write(tmp_path / "a.parquet.gz", path.read_bytes()), "parquet")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"n": ' + "1" * 1_000_000 + "}", "a number of too many digits"),
        ('{"n": ' + "[" * 200_000 + "]" * 200_000 + "}", "JSON nested too deeply"),
        ('{"query": "a", "query": "b"}', "key 'query' given twice"),
        ('{"a": {"b": 1, "b": 2}}', "key 'b' given twice"),
        ('{"a": 1}\r{"a": 2}', CARRIAGE_RETURN),
    ],
)
def test_json_that_is_no_row(tmp_path, line, reason):
    path = write(tmp_path / "a.jsonl", f'{{"n": 0}}\n{line}\n{{"n": 1}}\n')
    assert rows(path, "jsonl") == [(1, {"n": 0}), (2, reason), (3, {"n": 1})]


def test_headers_of_60_000_columns(tmp_path):
    """Counting each name anew took minutes."""
    names = [f"c{i}" for i in range(60_000)]
    path = write(tmp_path / "a.csv", ",".join(names) + "\n" + ",".join("1" for _ in names) + "\n")
    assert columns_of(path, "csv") == names
    with pytest.raises(DataError, match="names 'c7' twice"):
        columns_of(write(tmp_path / "b.csv", ",".join([*names, "c7"]) + "\n"), "csv")


def test_a_text_that_names_columns_is_shown_in_part(tmp_path):
    with pytest.raises(DataError) as caught:
        columns_of(write(tmp_path / "a.tsv", "x" * 100_000 + "\t" + "x" * 100_000 + "\n"), "tsv")
    assert len(str(caught.value)) < 400


# Encodings --------------------------------------------------------------------------------------------------------

TEXTS = {
    "english": "query,positive\na question,an answer\n" * 1,
    "german": "query,positive\nÜber größere Maße,süß\n",
    "chinese": "query,positive\n什么是嵌入,一种向量\n" + "这是一个问题,这是一个答案\n" * 50,
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("mark", [False, True])
@pytest.mark.parametrize("zipped", [False, True])
def test_wide_encodings_are_named_and_read_when_declared(tmp_path, text, codec, mark, zipped):
    content = (("\ufeff" if mark else "") + text).encode(codec)
    path = write(tmp_path / "a.csv", gzip.compress(content) if zipped else content)
    general = codec.rpartition("-")[0]
    with pytest.raises(DataError) as caught:
        rows(path, "csv")
    named = general if mark else codec
    assert ("starts with the byte order mark of" if mark else "looks like") + f" {named}" in str(caught.value)
    assert caught.value.cure == f"save it as UTF-8, e.g. `iconv -f {named} -t utf-8 FILE > NEW`"
    expected = [tuple(line.split(",")) for line in text.splitlines()[1:]]
    for declared in [codec, *([general, general.upper()] if mark else [])]:
        assert [tuple(r.values.values()) for r in read(path, "csv", declared)] == expected


@pytest.mark.parametrize("spelling", ["utf-8", "UTF-8", "UTF_8", "utf8", "U8", "utf-8-sig", "utf8-sig", "UTF_8_SIG"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_every_spelling_of_utf_8_removes_the_mark(tmp_path, spelling, mark):
    path = write(tmp_path / "a.csv", f"{mark}query\nà\n")
    assert rows(path, "csv", encoding=spelling) == [(2, {"query": "à"})]
    assert columns_of(path, "csv", spelling) == ["query"]


def test_a_declared_encoding_that_the_bytes_deny(tmp_path):
    path = write(tmp_path / "a.csv", "query,positive\na,b\n")
    with pytest.raises(DataError, match="not utf-16: its bytes are UTF-8"):
        rows(path, "csv", encoding="utf-16")
    with pytest.raises(DataError, match="byte order mark of utf-8"):
        rows(write(tmp_path / "b.csv", "\ufeffquery\na\n"), "csv", encoding="latin-1")
    with pytest.raises(DataError, match=r"not utf-16-le after line \d+"):
        rows(write(tmp_path / "c.txt", "a\n".encode("utf-16-le") + b"\x00\xd8a\x00\n\x00"), "txt", encoding="utf-16-le")
    for unknown in ("rot13", "", "undefined", "utf-9", "a\0b"):
        with pytest.raises(RecipeError, match="unknown encoding"):
            rows(path, "csv", encoding=unknown)


@pytest.mark.parametrize("form", ["txt", "csv", "tsv", "jsonl"])
def test_carriage_returns_as_line_ends(tmp_path, form):
    lines = {"jsonl": ['{"a": "b"}'] * 3, "csv": ["a,b", "c,d", "e,f"], "tsv": ["a\tb", "c\td", "e\tf"]}
    path = write(tmp_path / f"old.{form}", "\r".join(lines.get(form, ["a", "b", "c"])))
    with pytest.raises(DataError, match="its lines end with carriage returns alone") as caught:
        rows(path, form)
    assert "tr '\\r' '\\n'" in caught.value.cure
    mixed = write(tmp_path / f"mixed.{form}", "\r\n".join(lines.get(form, ["a", "b"])) + "\r\nx\ry\n")
    assert rows(mixed, form)[-1][1] == CARRIAGE_RETURN


def test_next_line_characters(tmp_path):
    with pytest.raises(DataError, match=r"its lines end with U\+0085"):
        rows(write(tmp_path / "a.txt", "one\x85two\x85"), "txt")
    path = write(tmp_path / "a.jsonl", '{"a": "b\x85c\u2028d"}')
    assert rows(path, "jsonl") == [(1, {"a": "b\x85c\u2028d"})]


@pytest.mark.parametrize(
    ("start", "what"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a Git LFS pointer"),
        (b"PK\x03\x04\0\0", "a zip archive"),
        (b"PAR1", "a Parquet file"),
        (b"\x28\xb5\x2f\xfd\0", "packed with zstd"),
    ],
)
def test_other_files_under_a_text_ending(tmp_path, start, what):
    with pytest.raises(DataError, match=what):
        rows(write(tmp_path / "a.csv", start), "csv")


def test_a_text_of_a_parquet_file_that_is_no_utf_8_is_a_bad_row(tmp_path):
    broken = pa.array([b"good", b"caf\xe9", b"too"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"text": broken}), tmp_path / "a.parquet")
    assert rows(tmp_path / "a.parquet", "parquet") == [
        (1, {"text": "good"}),
        (2, "broken encoding"),
        (3, {"text": "too"}),
    ]


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="a file that the system gives no byte of")
@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.csv", "a.parquet"])
def test_a_file_that_the_system_cannot_read(tmp_path, name):
    (tmp_path / name).symlink_to("/proc/self/mem")
    with pytest.raises(DataError, match="cannot be read: Input/output error"):
        rows(tmp_path / name, format_of(tmp_path / name))
    with pytest.raises(DataError, match=r"a\.txt: cannot be read after line 12: Input/output error"):
        raise unreadable(OSError(5, "Input/output error"), Path("a.txt"), 12)
