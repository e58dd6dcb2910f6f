"""Reading evaluation files: every form gives the same data, and a bad one names its line."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from embedkit.errors import DataError
from embedkit.evaluation.loading import load_beir, load_retrieval, load_sts
from embedkit.recipe.pydocs import PydocsSource
from embedkit.recipe.suite import RetrievalTask, StsTask

ROWS = [
    {"score": 5.0, "sentence1": 'He said "go".', "sentence2": "He told us to go.", "subset": "a"},
    {"score": 0.5, "sentence1": "A dog, asleep", "sentence2": "Prices rose", "subset": "b"},
    {"score": 2.0, "sentence1": "It rains", "sentence2": "It snows", "subset": "a"},
    {"score": 4.0, "sentence1": "Tea is hot", "sentence2": "The tea is hot", "subset": "b"},
]


def write_tsv(path: Path) -> Path:
    lines = ["\t".join(ROWS[0])] + ["\t".join(str(v) for v in row.values()) for row in ROWS]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def write_csv(path: Path) -> Path:
    import csv

    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(ROWS[0]))
        writer.writeheader()
        writer.writerows(ROWS)
    return path


def write_jsonl(path: Path) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    return path


def write_parquet(path: Path) -> Path:
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), path)
    return path


def zipped(path: Path) -> Path:
    target = path.with_name(path.name + ".gz")
    target.write_bytes(gzip.compress(path.read_bytes()))
    return target


def sts(*files: Path, **options: str) -> StsTask:
    return StsTask(name="t", files=tuple(str(f) for f in files), **options)


def test_every_form_gives_the_same_pairs(tmp_path: Path) -> None:
    writers: dict[str, Callable[[Path], Path]] = {
        "tsv": write_tsv,
        "csv": write_csv,
        "jsonl": write_jsonl,
        "parquet": write_parquet,
    }
    files = [write(tmp_path / f"pairs.{ending}") for ending, write in writers.items()]
    files += [zipped(file) for file in files[:3]]
    found = [load_sts(sts(file, subset="subset")) for file in files]
    assert len({data.digest for data in found}) == 1
    assert found[0].first == [row["sentence1"] for row in ROWS]
    assert found[0].gold.tolist() == [5.0, 0.5, 2.0, 4.0]
    assert (found[0].subsets, found[0].subset.tolist()) == (("a", "b"), [0, 1, 0, 1])


def test_several_files_are_one_set(tmp_path: Path) -> None:
    one, two = write_tsv(tmp_path / "one.tsv"), write_jsonl(tmp_path / "two.jsonl")
    data = load_sts(sts(one, two))
    assert (len(data.first), data.subsets, data.subset.max()) == (8, ("",), 0)
    assert data.digest != load_sts(sts(one)).digest


@pytest.mark.parametrize(
    ("tamper", "where", "what"),
    [
        (lambda t: t.replace("\t2.0\t", "\ttwo\t").replace("2.0", "two"), ":4", "score: expected a number, got 'two'"),
        (lambda t: t.replace("2.0", "nan"), ":4", "expected a number"),
        (lambda t: t.replace("It snows", " "), ":4", "sentence2 is empty"),
        (lambda t: t.replace("sentence1", "sentance1"), ":1", "did you mean 'sentance1'"),
        (lambda t: t.replace("It rains\t", "It rains"), ":4", "3 columns where the header has 4"),
        (lambda t: t.replace("2.0", "1_0"), ":4", "expected a number, got '1_0'"),
        (lambda t: t.replace("2.0", "1" * 5000), ":4", "expected a number, got '111"),
        (lambda t: t.replace("It snows", "\u200b\ufeff"), ":4", "without a visible character in sentence2"),
        (lambda t: t.replace("It snows", "It\0snows"), ":4", "a NUL character in sentence2"),
        (lambda t: t.partition("\n")[2], ":1", "the first line names none of score, sentence1, sentence2; it reads"),
        (lambda t: t.splitlines()[0] + "\n", "pairs.tsv", "no pairs"),
        (lambda t: "\n".join(t.splitlines()[:2]), "pairs.tsv", "no correlation exists"),
    ],
)
def test_a_tampered_file_is_refused_with_its_line(
    tmp_path: Path, tamper: Callable[[str], str], where: str, what: str
) -> None:
    path = write_tsv(tmp_path / "pairs.tsv")
    path.write_text(tamper(path.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(DataError) as caught:
        load_sts(sts(path))
    assert where in caught.value.where
    assert what in str(caught.value)


def test_a_subset_with_one_score_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    rows = [*ROWS, {**ROWS[0], "subset": "c"}, {**ROWS[0], "subset": "c"}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    with pytest.raises(DataError, match="subset 'c'"):
        load_sts(sts(path, subset="subset"))
    assert len(load_sts(sts(path)).first) == 6


def test_true_is_not_a_score(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text(json.dumps({**ROWS[0], "score": True}) + "\n", encoding="utf-8")
    with pytest.raises(DataError, match="expected a number, got True"):
        load_sts(sts(path))


# BEIR folders -------------------------------------------------------------------------------------------------


def beir(folder: Path) -> Path:
    (folder / "qrels").mkdir(parents=True)
    corpus = [
        {"_id": "d1", "title": "Tea", "text": "How to steep it."},
        {"_id": "d2", "title": "", "text": "Bread rises."},
        {"_id": "d3", "text": "Rain falls."},
        {"_id": "q1", "text": ""},
    ]
    queries = [{"_id": "q2", "text": "bread"}, {"_id": "q1", "text": " tea "}, {"_id": "q3", "text": "unjudged"}]
    for name, rows in (("corpus", corpus), ("queries", queries)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    lines = ["query-id\tcorpus-id\tscore", "q1\td1\t2", "q1\td2\t0", "q2\td2\t1", "q3\td1\t0"]
    (folder / "qrels" / "test.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def test_a_beir_folder(tmp_path: Path) -> None:
    data = load_beir(beir(tmp_path / "set"), "test")
    assert data.corpus == {"d1": "Tea How to steep it.", "d2": "Bread rises.", "d3": "Rain falls.", "q1": ""}
    assert list(data.queries.items()) == [("q2", "bread"), ("q1", "tea")]
    assert data.qrels == {"q1": {"d1": 2, "d2": 0}, "q2": {"d2": 1}}
    for name in ("corpus.jsonl", "queries.jsonl", "qrels/test.tsv"):
        zipped(tmp_path / "set" / name)
        (tmp_path / "set" / name).unlink()
    assert load_beir(tmp_path / "set", "test") == data


@pytest.mark.parametrize(
    ("file", "tamper", "where", "what"),
    [
        (
            "qrels/test.tsv",
            lambda t: t.partition("\n")[2],
            "test.tsv:1",
            "names none of query-id, corpus-id, score; it reads 'q1<TAB>d1<TAB>2'\n  cure: put a header line first: "
            "`query-id<TAB>corpus-id<TAB>score`",
        ),
        ("qrels/test.tsv", lambda t: t.replace("d1\t2", "d1\t1e300"), "test.tsv:2", "a whole number, got '1e300'"),
        ("qrels/test.tsv", lambda t: t.replace("d1\t2", "d1\t" + "9" * 5000), "test.tsv:2", "a whole number, got '999"),
        ("corpus.jsonl", lambda t: t.replace('"d3"', '"\\ud800"'), "corpus.jsonl:3", "half of a surrogate pair"),
        ("corpus.jsonl", lambda t: t.replace("Rain falls.", "\\udfff"), "corpus.jsonl:3", "half of a surrogate pair"),
        ("corpus.jsonl", lambda t: t.replace('"_id": "d3"', '"_id": "d3", "_id": "d4"'), ":3", "key '_id' given twice"),
        ("queries.jsonl", lambda t: t.replace('"bread"', '"\\u200b"'), "queries.jsonl:1", "without a visible"),
        ("qrels/test.tsv", lambda t: t.replace("d2\t1", "d9\t1"), "test.tsv:4", "'d9', an id that corpus.jsonl lacks"),
        ("qrels/test.tsv", lambda t: t.replace("q2", "q9"), "test.tsv:4", "'q9', an id that queries.jsonl lacks"),
        ("qrels/test.tsv", lambda t: t.replace("d1\t2", "d1\t0.5"), "test.tsv:2", "expected a whole number, got '0.5'"),
        ("qrels/test.tsv", lambda t: t.replace("q1\td2\t0", "q1\td1\t0"), "test.tsv:3", "judged twice"),
        ("qrels/test.tsv", lambda t: t.replace("corpus-id", "doc-id"), "test.tsv:1", "no column 'corpus-id'"),
        ("qrels/test.tsv", lambda t: t.replace("\t2", "\t0").replace("\t1", "\t0"), "test.tsv", "no query has"),
        ("corpus.jsonl", lambda t: t.replace('"d3"', '"d1"'), "corpus.jsonl:3", "given twice"),
        ("corpus.jsonl", lambda t: t.replace('"d3"', "3"), "corpus.jsonl:3", "_id: expected text, got 3"),
        ("corpus.jsonl", lambda t: t.replace('"Rain falls."', "null"), "corpus.jsonl:3", "text: expected text"),
        ("queries.jsonl", lambda t: t.replace('"bread"}', '"bread"'), "queries.jsonl:1", "malformed JSON"),
        ("queries.jsonl", lambda t: t.replace('"bread"', '""'), "queries.jsonl:1", "text is empty"),
    ],
)
def test_a_tampered_folder_is_refused_with_its_line(
    tmp_path: Path, file: str, tamper: Callable[[str], str], where: str, what: str
) -> None:
    path = beir(tmp_path / "set") / file
    path.write_text(tamper(path.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(DataError) as caught:
        load_beir(tmp_path / "set", "test")
    assert where in caught.value.where
    assert what in str(caught.value)


def test_gains_as_pandas_writes_them(tmp_path: Path) -> None:
    path = beir(tmp_path / "set") / "qrels" / "test.tsv"
    path.write_text(path.read_text().replace("\t2\n", "\t2.0\n").replace("\t1\n", "\t1.0\n"))
    assert load_beir(tmp_path / "set", "test").qrels == {"q1": {"d1": 2, "d2": 0}, "q2": {"d2": 1}}


@pytest.mark.parametrize("name", ["corpus.jsonl", "queries.jsonl", "qrels/test.tsv"])
def test_other_encodings_are_named_with_the_cure(tmp_path: Path, name: str) -> None:
    path = beir(tmp_path / "set") / name
    path.write_bytes(path.read_text().encode("utf-16"))
    with pytest.raises(DataError, match="byte order mark of utf-16") as caught:
        load_beir(tmp_path / "set", "test")
    assert "iconv -f utf-16 -t utf-8" in caught.value.cure
    assert path.name in caught.value.where


def test_a_csv_record_over_many_lines_is_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "a.csv"
    path.write_text('score,sentence1,sentence2\n1,"' + "verse\n" * 9 + '",b\n2,c,d\n')
    assert load_sts(sts(path)).gold.tolist() == [1.0, 2.0]
    assert f"1 row, first {path}:2: over more than 5 lines" in caplog.text
    path.write_text('score,sentence1,sentence2\n1,"a 5 inch,pipe\n2,c,d\n3,e,f\n')
    with pytest.raises(DataError, match=r"a\.csv:2: a quote opens here"):
        load_sts(sts(path))


def test_a_missing_split_names_the_ones_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"qrels/ holds test\.tsv"):
        load_beir(beir(tmp_path / "set"), "dev")
    with pytest.raises(DataError, match="BEIR folder"):
        load_beir(tmp_path, "test")


def test_limit_and_identical_ids(tmp_path: Path) -> None:
    folder = str(beir(tmp_path / "set"))
    task = RetrievalTask(name="t", folder=folder, limit_queries=1)
    assert list(load_retrieval(task).qrels) == ["q2"]
    load_retrieval(RetrievalTask(name="t", folder=folder, ignore_identical_ids=True))
    qrels = tmp_path / "set" / "qrels" / "test.tsv"
    qrels.write_text(qrels.read_text(encoding="utf-8") + "q1\tq1\t1\n", encoding="utf-8")
    with pytest.raises(DataError, match="own id is judged relevant"):
        load_retrieval(RetrievalTask(name="t", folder=folder, ignore_identical_ids=True))


def test_pydocs_splits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    block = PydocsSource(packages=("click",), holdout=("rich",), dev=("not_installed",))
    data = load_retrieval(RetrievalTask(name="t", pydocs=block, limit_queries=20))
    assert len(data.queries) == 20
    assert all(document in data.corpus for judged in data.qrels.values() for document in judged)
    with pytest.raises(DataError, match=r"no queries for 'dev'.*not_installed"):
        load_retrieval(RetrievalTask(name="t", pydocs=block, pydocs_split="dev"))


def test_nothing_to_rank_is_refused(tmp_path: Path) -> None:
    folder = beir(tmp_path / "set")
    lines = ["query-id\tcorpus-id\tscore", *(f"q2\t{d}\t1" for d in ("d1", "d2", "d3", "q1"))]
    (folder / "qrels" / "test.tsv").write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(DataError, match="every document is relevant"):
        load_retrieval(RetrievalTask(name="t", folder=str(folder)))


def test_gold_is_float64(tmp_path: Path) -> None:
    assert load_sts(sts(write_tsv(tmp_path / "pairs.tsv"))).gold.dtype == np.float64
