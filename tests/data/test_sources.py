from __future__ import annotations

import gzip
import hashlib
import json

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embedkit.data.sources import load_source, text_id
from embedkit.errors import DataError
from embedkit.inputs.cures import Cures
from embedkit.recipe.reading.settle import settle
from embedkit.recipe.schema import Source

ROWS = [{"query": f"question {i}", "positive": f"answer {i}"} for i in range(5)]


def everything(loaded):
    return loaded.get(range(loaded.rows))


def write_as(path, form, rows=ROWS):
    if form == "jsonl":
        path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    elif form == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        mark = "," if form == "csv" else "\t"
        path.write_text("\n".join(mark.join(r) for r in [list(rows[0]), *(list(r.values()) for r in rows)]) + "\n")
    return path


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("form", ["jsonl", "csv", "tsv", "parquet"])
def test_every_format_gives_the_same_examples(tmp_path, form, zipped):
    path = write_as(tmp_path / f"a.{form}", form)
    if zipped:
        path = tmp_path / f"a.{form}.gz"
        path.write_bytes(gzip.compress((tmp_path / f"a.{form}").read_bytes()))
    loaded = load_source(settle(Source(path=path.name), tmp_path))
    assert [(e.query, e.positives) for e in everything(loaded)] == [(r["query"], (r["positive"],)) for r in ROWS]
    first = 2 if form in ("csv", "tsv") else 1
    assert [e.origin for e in loaded.get([4, 0])] == [f"{path.name}:{first + 4}", f"{path.name}:{first}"]
    assert loaded.digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (loaded.rows, loaded.roles, loaded.max_negatives) == (5, {"query", "positive"}, 0)
    assert (loaded.name, loaded.streaming, loaded.skipped, loaded.unused) == (path.name, False, {}, ())


def test_rows_given_in_the_recipe():
    rows = (
        {"query": "q", "positive": ["a", "b"], "negative": ["n"], "x": 1},
        {"query": "r", "positive": "c", "negative": []},
    )
    loaded = load_source(Source(rows=rows))
    assert [e.origin for e in everything(loaded)] == ["rows[0]", "rows[1]"]
    assert loaded.max_negatives == 1 and loaded.unused == ("x",)
    assert loaded.digest == load_source(Source(rows=rows)).digest
    assert loaded.digest != load_source(Source(rows=rows[::-1])).digest


def test_plain_text_and_globs_read_files_in_sorted_order(tmp_path):
    (tmp_path / "d").mkdir()
    for name in ("b", "a"):
        (tmp_path / "d" / f"{name}.txt").write_text(f"first of {name}\nsecond of {name}\n")
    loaded = load_source(settle(Source(path="d/*.txt", name="mine"), tmp_path))
    assert [(e.query, e.positives, e.known) for e in everything(loaded)][:3] == [
        ("first of a", (), ()),
        ("second of a", (), ()),
        ("first of b", (), ()),
    ]
    assert loaded.get([3])[0].origin == "d/b.txt:2"
    assert loaded.name == "mine" and loaded.roles == {"text"}


def test_paths_start_at_the_recipe_then_at_the_working_folder_then_at_home(tmp_path, monkeypatch):
    here, recipe, home = (tmp_path / name for name in ("here", "recipe", "home"))
    for folder in (here, recipe, home):
        folder.mkdir()
        (folder / "a.txt").write_text(folder.name)
    (here / "b.txt").write_text("only here")
    monkeypatch.chdir(here)
    monkeypatch.setenv("HOME", str(home))
    query = lambda path: load_source(settle(Source(path=path), recipe)).get([0])[0].query  # noqa: E731
    assert query("a.txt") == "recipe"
    assert query("b.txt") == "only here"
    assert query("~/a.txt") == "home"
    assert query(str(here / "a.txt")) == "here"
    with pytest.raises(DataError, match=r"c\*\.txt .*no such file") as caught:
        query("c*.txt")
    assert str(recipe) in str(caught.value) and str(here) in str(caught.value)
    with pytest.raises(DataError, match=r"is a folder"):
        query("~")


BAD = [
    '{"query": "a", "positive": "b"}',
    '{"query": "a", "positive": ',
    '"text"',
    '{"query": "a"}',
    '{"query": "a", "positive": ""}',
    '{"query": "a", "positive": 4}',
    '{"query": "a", "positive": null}',
    '{"query": "c", "positive": "d"}',
    '{"query": "a", "positive": [1]}',
    "",
    '{"query": "a", "positive": "caf\udce9"}',
    '{"query": "e", "positive": "f"}',
]


def bad_file(tmp_path):
    path = tmp_path / "bad.jsonl"
    path.write_bytes("\n".join(BAD).encode("utf-8", "surrogateescape"))
    return path


def test_bad_rows_stop_with_the_first_five_and_the_cure(tmp_path):
    bad_file(tmp_path)
    with pytest.raises(DataError) as caught:
        load_source(settle(Source(path="bad.jsonl"), tmp_path))
    assert str(caught.value).splitlines() == [
        "bad.jsonl: 9 bad rows of 12:",
        "  bad.jsonl:2: malformed JSON",
        "  bad.jsonl:3: not a JSON object",
        "  bad.jsonl:4: missing field 'positive'",
        "  bad.jsonl:5: empty text in 'positive'",
        "  bad.jsonl:6: a number where text belongs in 'positive'",
        "  ... and 4 more",
        "  cure: mend them; if the file is Latin-1 (an old export of Excel), set `encoding: latin-1` in this source; "
        "or set `on_bad_row: skip` in this source to leave them out and count them",
    ]
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("streaming", [False, True])
def test_skipped_rows_are_counted_by_reason(tmp_path, streaming):
    bad_file(tmp_path)
    loaded = load_source(settle(Source(path="bad.jsonl", on_bad_row="skip", streaming=streaming), tmp_path))
    assert sorted(e.query for e in loaded.get(range(3))) == ["a", "c", "e"]
    if streaming:
        loaded.get(range(3, 30))
    assert loaded.skipped == {
        "malformed JSON": 1,
        "not a JSON object": 1,
        "missing field 'positive'": 1,
        "empty text in 'positive'": 1,
        "a number where text belongs in 'positive'": 2,
        "null where text belongs in 'positive'": 1,
        "empty line": 1,
        "broken encoding": 1,
    }


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", "", "a.jsonl: there are no rows"),
        ("a.jsonl", "{nothing}\n", "a.jsonl: 1 bad row of 1:\n  a.jsonl:1: malformed JSON"),
        ("a.txt", "\n\n", "a.txt: there are no usable rows"),
        ("a.tsv", "query\tpositive\n", "a.tsv: there are no usable rows"),
        ("a.tsv", "", "a.tsv:1: no header"),
        ("a.tsv", "query\tpositive\n\n", "a.tsv: there are no usable rows"),
        ("a.csv", "query,positiv\na,b\n", "no column 'positive'\n  cure: did you mean 'positiv'"),
    ],
)
def test_unusable_files(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    roles = {"positive": "positive"} if name == "a.csv" else {}
    with pytest.raises(DataError) as caught:
        load_source(settle(Source(path=name, roles=roles), tmp_path))
    assert message in str(caught.value)


def test_all_rows_skipped_is_an_error_too(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"query": 1, "positive": 2}\n')
    with pytest.raises(DataError, match=r'no usable rows; skipped: \{"a number where text'):
        load_source(settle(Source(path="a.jsonl", on_bad_row="skip"), tmp_path))


def test_files_of_a_pattern_must_share_the_columns_used(tmp_path):
    (tmp_path / "a.tsv").write_text("query\tpositive\na\tb\n")
    (tmp_path / "b.tsv").write_text("positive\tquery\tid\nb\ta\t1\n")
    assert [e.query for e in everything(load_source(settle(Source(path="*.tsv"), tmp_path)))] == ["a", "a"]
    (tmp_path / "c.tsv").write_text("query\tanswer\na\tb\n")
    with pytest.raises(DataError, match=r"c\.tsv: no column 'positive', which a\.tsv has; columns: query, answer"):
        load_source(settle(Source(path="*.tsv"), tmp_path))


def test_limit_counts_usable_rows_and_stops_reading(tmp_path):
    bad_file(tmp_path)
    loaded = load_source(settle(Source(path="bad.jsonl", on_bad_row="skip", limit=2), tmp_path))
    assert [e.query for e in everything(loaded)] == ["a", "c"]
    assert sum(loaded.skipped.values()) == 6
    assert load_source(settle(Source(path="bad.jsonl", limit=1), tmp_path)).rows == 1


def test_all_positives_of_a_query_are_known_to_each_of_its_rows(tmp_path):
    rows = (
        {"query": "q", "positive": "a"},
        {"query": "other", "positive": "x"},
        {"query": "q ", "positive": ["b", "c"]},
        {"query": "q", "positive": "a"},
    )
    loaded = load_source(settle(Source(rows=rows), tmp_path))
    known = [set(e.known) for e in everything(loaded)]
    expected = {text_id(t) for t in "abc"}
    assert known == [expected, {text_id("x")}, expected, expected]
    assert all(len(e.known) == len(set(e.known)) for e in everything(loaded))


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["b", "a", "b", "c"], [1, 0, 1, 2]),
        ([7, 3, 7, -1], [7, 3, 7, -1]),
        (["10", "9", "10", "-2"], [10, 9, 10, -2]),
        (["10", "9", "x", "9"], [0, 1, 2, 1]),
        (["007", "7", "07", "7"], [0, 2, 1, 2]),
        ([1.0, 2, "2", True], [1, 2, 2, 1]),
    ],
)
def test_labels_keep_whole_numbers_and_number_texts_in_sorted_order(labels, expected):
    rows = tuple({"text": "t", "label": label} for label in labels)
    assert [e.label for e in everything(load_source(Source(rows=rows)))] == expected


def test_a_table_of_many_chunks_keeps_every_row(tmp_path, monkeypatch):
    monkeypatch.setattr("embedkit.data.table._CHUNK", 7)
    rows = [{"query": f"q{i}", "positive": f"p{i}", "negatives": [f"n{i}"] * (i % 3)} for i in range(50)]
    write_as(tmp_path / "a.jsonl", "jsonl", rows)
    loaded = load_source(settle(Source(path="a.jsonl"), tmp_path))
    for i, e in zip([49, 0, 13, 6, 7], loaded.get([49, 0, 13, 6, 7]), strict=True):
        assert (e.query, e.positives, e.negatives) == (f"q{i}", (f"p{i}",), (f"n{i}",) * (i % 3))
    assert loaded.max_negatives == 2


@pytest.mark.parametrize("streaming", [False, True])
def test_a_dataset_in_the_form_of_the_hub(tmp_path, monkeypatch, streaming):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "set"
    folder.mkdir()
    write_as(folder / "train-00000-of-00001.parquet", "parquet")
    write_as(folder / "test-00000-of-00001.parquet", "parquet", ROWS[:2])
    source = Source(hub="set", streaming=streaming, shuffle_buffer=1)
    loaded = load_source(settle(source, tmp_path))
    assert loaded.rows == (None if streaming else 5)
    assert [(e.query, e.positives) for e in loaded.get(range(5))] == [(r["query"], (r["positive"],)) for r in ROWS]
    assert loaded.get([4])[0].origin == "set:train[4]"
    test = load_source(settle(source.model_copy(update={"split": "test"}), tmp_path))
    assert [e.query for e in test.get(range(2))] == ["question 0", "question 1"]
    assert test.digest != loaded.digest == load_source(settle(source, tmp_path)).digest


def test_a_hub_dataset_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    with pytest.raises(DataError, match=r"nobody/nothing:train: cannot be loaded.*\n  cure: check id"):
        load_source(settle(Source(hub="nobody/nothing"), tmp_path))
    (tmp_path / "set").mkdir()
    write_as(tmp_path / "set" / "train.jsonl", "jsonl")
    with pytest.raises(DataError, match=r"set:dev: cannot be loaded: .*dev"):
        load_source(settle(Source(hub="set", split="dev"), tmp_path))


def write_labels(folder, labels):
    (folder / "codes.csv").write_text(
        "query,label\n" + "".join(f"text {i},{label}\n" for i, label in enumerate(labels))
    )


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("others", [[], ["unknown"], ["1.0", ""][:1]])
def test_classes_do_not_depend_on_the_other_rows(tmp_path, streaming, others):
    given = ["007", "007", "7", "7", "08540", "8540", *others]
    write_labels(tmp_path, given)
    loaded = load_source(settle(Source(path="codes.csv", streaming=streaming, shuffle_buffer=1), tmp_path))
    found = [e.label for e in loaded.get(range(len(given)))]
    same = [[a == b for b in found] for a in found]
    assert same == [[a == b for b in given] for a in given]


@pytest.mark.parametrize("streaming", [False, True])
def test_an_open_quote_costs_one_row(tmp_path, streaming):
    lines = [f"question {i},answer {i}" for i in range(1000)]
    lines[9] = '"a 5 inch pipe,answer 9'
    (tmp_path / "open.csv").write_text("query,positive\n" + "\n".join(lines) + "\n")
    source = settle(Source(path="open.csv", on_bad_row="skip", streaming=streaming, shuffle_buffer=1), tmp_path)
    loaded = load_source(source)
    examples = loaded.get(range(999))
    assert [e.query for e in examples] == [f"question {i}" for i in range(1000) if i != 9]
    assert loaded.skipped == {"a quote opens here and is not closed in its row": 1}
    with pytest.raises(DataError, match=r"1 bad row.*:\n  open\.csv:11: a quote opens here") as caught:
        load_source(source.model_copy(update={"on_bad_row": "error"}), cures=Cures.of_source(3)).get(range(999))
    assert "set `on_bad_row: skip` in this source (data.sources.3.on_bad_row=skip)" in caught.value.cure


def test_lines_that_are_lost_with_a_row_are_counted_and_long_rows_are_told_of(tmp_path):
    text = 'query,positive\n"one\ntwo\nthree" oops,x\n"' + "verse\n" * 7 + '",y\nz,w\n'
    (tmp_path / "a.csv").write_text(text)
    loaded = load_source(settle(Source(path="a.csv", on_bad_row="skip"), tmp_path))
    assert loaded.skipped == {"malformed CSV (',' expected after '\"'), 3 lines": 1}
    assert loaded.remarks == ["1 row, first a.csv:5: over more than 5 lines: is a quote left open?"]


def test_latin_1_names_the_key_and_loads_with_it(tmp_path):
    (tmp_path / "excel.csv").write_bytes("query,positive\nGröße,Maß\nMaß,Größe\n".encode("latin-1"))
    with pytest.raises(DataError, match="2 bad rows of 2:") as caught:
        load_source(settle(Source(path="excel.csv"), tmp_path), cures=Cures.of_source(0))
    assert "set `encoding: latin-1` in this source (data.sources.0.encoding=latin-1)" in caught.value.cure
    loaded = load_source(settle(Source(path="excel.csv", encoding="latin-1"), tmp_path))
    assert [e.query for e in everything(loaded)] == ["Größe", "Maß"]


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("key", ["path", "hub"])
def test_what_save_to_disk_wrote_says_so(tmp_path, key, several):
    made = datasets.Dataset.from_list(ROWS)
    (datasets.DatasetDict(train=made) if several else made).save_to_disk(tmp_path / "saved")
    with pytest.raises(DataError, match="a dataset written by `save_to_disk`") as caught:
        load_source(settle(Source(**{key: "saved"}), tmp_path))
    line = caught.value.cure.partition("convert it: ")[2].partition(", then give")[0]
    eval(line.replace("'train.parquet'", repr(str(tmp_path / "train.parquet"))), {"datasets": datasets})
    assert load_source(settle(Source(path="train.parquet"), tmp_path)).rows == 5


def test_a_stream_knows_whether_it_fills_a_batch(tmp_path):
    write_as(tmp_path / "a.jsonl", "jsonl")
    source = settle(Source(path="a.jsonl", streaming=True), tmp_path)
    assert load_source(source).ended == 5
    assert load_source(source, peek=5).ended is None
    assert load_source(settle(Source(path="a.jsonl"), tmp_path)).ended is None
