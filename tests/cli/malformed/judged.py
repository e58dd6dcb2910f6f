"""Evaluation data: suites, graded pairs, BEIR folders with their judgements; measured by `embedkit eval`."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from tests.cli.conftest import Done
from tests.cli.malformed.case import DATA, RECIPE, Case, Spoil
from tests.cli.malformed.ground import EVAL, reference
from tests.cli.malformed.mutations import bytewise
from tests.model import damaged

BEIR = ("beir", "beir.yaml")
STS = ("sts.tsv", "suite.yaml")
CORPUS, QUERIES, QRELS = "beir/corpus.jsonl", "beir/queries.jsonl", "beir/qrels/test.tsv"
HEAD = "query-id\tcorpus-id\tscore\n"
Change = Callable[[str], str]


def _text(name: str, change: Change) -> Spoil:
    def spoil(folder: Path) -> None:
        path = folder / name
        path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")

    return spoil


def _line(number: int, new: str) -> Change:
    """Another line in place of one, from 0."""

    def change(text: str) -> str:
        lines = text.splitlines()
        lines[number] = new
        return "\n".join(lines) + "\n"

    return change


QREL: dict[str, Change] = {
    "empty": lambda text: "",
    "a header alone": lambda text: HEAD,
    "no header": lambda text: text.partition("\n")[2],
    "a header of TREC": lambda text: "q0\t0\td0\t1\n" * 3,
    "spaces for tabs": lambda text: text.replace("\t", " "),
    "commas for tabs": lambda text: text.replace("\t", ","),
    "a query that nobody asks": _line(3, "q99\td1\t1"),
    "a document that is not there": _line(3, "q0\td99\t1"),
    "no document that is there": lambda text: text.replace("\td", "\tx"),
    "ids in capitals": lambda text: HEAD + text.partition("\n")[2].upper(),
    "a score that is a word": _line(1, "q0\td0\tgood"),
    "a score that is a fraction": _line(1, "q0\td0\t0.5"),
    "a score that is NaN": _line(1, "q0\td0\tnan"),
    "a score without end": _line(1, "q0\td0\tinf"),
    "a score of 400 digits": _line(1, "q0\td0\t" + "9" * 400),
    "a score beyond all grades": _line(1, "q0\td0\t1e9"),
    "a score of Python": _line(1, "q0\td0\t1_0"),
    "no score": _line(1, "q0\td0"),
    "an empty score": _line(1, "q0\td0\t"),
    "an empty query": _line(1, "\td0\t1"),
    "a column more": _line(1, "q0\td0\t1\t1"),
    "one judgement twice": lambda text: text + "q0\td0\t2\n",
    "two judgements that differ": lambda text: text + "q0\td0\t0\n",
    "nothing relevant": lambda text: HEAD + "".join(f"{line[:-1]}0\n" for line in text.splitlines()[1:]),
    "everything relevant": lambda text: HEAD + "".join(f"q0\td{i}\t1\n" for i in range(24)) + "q1\td0\t1\n",
    "a blank line inside": _line(2, ""),
    "a NUL": _line(1, "q0\0\td0\t1"),
    "a column twice": lambda text: "query-id\tquery-id\tcorpus-id\tscore\n" + "q0\tq0\td0\t1\n",
}  # fmt: skip
TEXTS: dict[str, Change] = {
    "empty": lambda text: "",
    "blank lines": lambda text: "\n\n\n",
    "a row that ends early": lambda text: text[:-20],
    "an id that is a number": _line(0, '{"_id": 0, "text": "ba"}'),
    "an id that is null": _line(0, '{"_id": null, "text": "ba"}'),
    "an id that is empty": _line(0, '{"_id": "", "text": "ba"}'),
    "an id that is broken": _line(0, '{"_id": "\\ud800", "text": "ba"}'),
    "an id that comes again": lambda text: text + text.splitlines()[0] + "\n",
    "no id": _line(0, '{"text": "ba"}'),
    "ids under another name": lambda text: text.replace('"_id"', '"id"'),
    "a text that is a list": _line(0, '{"_id": "d0", "text": ["ba"]}'),
    "a text that is null": _line(0, '{"_id": "d0", "text": null}'),
    "no text": _line(0, '{"_id": "d0"}'),
    "a NUL in a text": _line(0, '{"_id": "d0", "text": "b\\u0000a"}'),
    "one document of JSON": lambda text: json.dumps([json.loads(line) for line in text.splitlines()]),
    "the text twice": _line(0, '{"_id": "d0", "text": "ba", "text": "de"}'),
}
PAIRS: dict[str, Change] = {
    "empty": lambda text: "",
    "a header alone": lambda text: text.splitlines()[0] + "\n",
    "no header": lambda text: text.partition("\n")[2],
    "one pair": lambda text: "\n".join(text.splitlines()[:2]) + "\n",
    "one score": lambda text: "sentence1\tsentence2\tscore\nba\tde\t1\nfi\tgo\t1\n",
    "a score that is a word": _line(3, "ba\tde\tgood"),
    "a score that is NaN": _line(3, "ba\tde\tNaN"),
    "a score that is missing": _line(3, "ba\tde"),
    "a comma for a point": _line(3, "ba\tde\t1,5"),
    "an empty sentence": _line(3, "\tde\t1"),
    "a column more": _line(3, "ba\tde\t1\t2"),
    "another name for the score": lambda text: text.replace("score", "gold", 1),
}
SUITES: dict[str, tuple[str, int]] = {
    "empty": ("", RECIPE),
    "a list": ("- a\n", RECIPE),
    "no tasks": ("name: own\n", RECIPE),
    "tasks that are none": ("name: own\ntasks: []\n", RECIPE),
    "a task that is a name": ("name: own\ntasks: [A]\n", RECIPE),
    "a task without a kind": ("name: own\ntasks: [{name: A, files: [sts.tsv]}]\n", RECIPE),
    "a task of a kind that nobody knows": ("name: own\ntasks: [{type: stss, name: A, files: [sts.tsv]}]\n", RECIPE),
    "a task without files": ("name: own\ntasks: [{type: sts, name: A, files: []}]\n", RECIPE),
    "files that are numbers": ("name: own\ntasks: [{type: sts, name: A, files: [1]}]\n", RECIPE),
    "two tasks of one name": (
        "name: own\ntasks: [{type: sts, name: A, files: [sts.tsv]}, {type: sts, name: A, files: [sts.tsv]}]\n",
        RECIPE,
    ),
    "a metric that nobody knows": (
        "name: own\ntasks: [{type: retrieval, name: R, folder: beir, metric: ndgc@10}]\n",
        RECIPE,
    ),
    "a cut-off of none": ("name: own\ntasks: [{type: retrieval, name: R, folder: beir, ks: [0]}]\n", RECIPE),
    "more tokens than positions": (
        "name: own\ntasks: [{type: sts, name: A, files: [sts.tsv], max_length: 1024}]\n",
        RECIPE,
    ),
    "a file that is not there": ("name: own\ntasks: [{type: sts, name: A, files: [no.tsv]}]\n", DATA),
    "a file that is a folder": ("name: own\ntasks: [{type: sts, name: A, files: [beir]}]\n", DATA),
    "a folder that is not there": ("name: own\ntasks: [{type: retrieval, name: R, folder: no}]\n", DATA),
    "a folder that is a file": ("name: own\ntasks: [{type: retrieval, name: R, folder: sts.tsv}]\n", DATA),
    "a split that is not there": ("name: own\ntasks: [{type: retrieval, name: R, folder: beir, split: dev}]\n", DATA),
    "a split elsewhere": (
        "name: own\ntasks: [{type: retrieval, name: R, folder: beir, split: ../../beir/qrels/test}]\n",
        0,
    ),
    "a column that is not there": ("name: own\ntasks: [{type: sts, name: A, files: [sts.tsv], score: gold}]\n", DATA),
}


def cases() -> Iterator[Case]:
    command, retrieval = (*EVAL, "suite.yaml"), (*EVAL, "beir.yaml")
    for name, (text, code) in SUITES.items():
        yield Case("suite", name, damaged.text("suite.yaml", text), command, code, (*STS, "beir"))
    for name, change in PAIRS.items():
        yield Case("graded pairs", name, _text("sts.tsv", change), command, DATA, STS)
    for name, change in QREL.items():
        yield Case("qrels", name, _text(QRELS, change), retrieval, DATA, BEIR)
    for file in (CORPUS, QUERIES):
        for name, change in TEXTS.items():
            change = (lambda text, change=change: change(text).replace('"d0"', '"q0"')) if file == QUERIES else change
            yield Case("BEIR", f"{file}: {name}", _text(file, change), retrieval, DATA, BEIR)
        yield Case("BEIR", f"{file}: is a folder", damaged.folder(file), retrieval, DATA, BEIR)
        yield Case("BEIR", f"{file}: is not there", damaged.without(file), retrieval, DATA, BEIR)
        yield Case("BEIR", f"{file}: is a link to itself", damaged.link(file, Path(file).name), retrieval, DATA, BEIR)
    yield Case("BEIR", "a packed corpus that is cut", _cut, retrieval, DATA, BEIR)
    for file in (CORPUS, QUERIES, QRELS):
        for seed in range(10):
            spoil = _bytes(file, seed)
            yield Case(
                "BEIR", f"{file}: changed bytes {seed}", spoil, retrieval, DATA, BEIR, then=measured, either=True
            )
    yield Case("BEIR", "as it was", lambda _: None, retrieval, 0, BEIR, then=measured)
    for name, change in {
        "a score written by pandas": _line(1, "q0\td0\t2.0"),
        "a score below none": _line(3, "q0\td9\t-1"),
        "CRLF": lambda text: text.replace("\n", "\r\n"),
        "a byte order mark": lambda text: "\ufeff" + text,
    }.items():
        yield Case("qrels", f"sound: {name}", _text(QRELS, change), retrieval, 0, BEIR, then=measured)


def _bytes(file: str, seed: int) -> Spoil:
    return lambda folder: (folder / file).write_bytes(bytewise((folder / file).read_bytes(), seed))


def _cut(folder: Path) -> None:
    path = folder / CORPUS
    packed = gzip.compress(path.read_bytes(), mtime=0)
    path.with_suffix(".jsonl.gz").write_bytes(packed[: len(packed) // 2])
    path.unlink()


def measured(folder: Path, done: Done) -> None:
    """The table shows nDCG@10 as worked out here from the files, read in another way."""
    try:
        wanted = _ndcg(folder / "beir")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise AssertionError(f"another reader refuses it: {error!r}") from error
    assert f"{100 * wanted:.2f}" in done.out, f"nDCG@10 is {100 * wanted:.2f}: {done.out}"


def _ndcg(folder: Path) -> float:
    corpus, queries = (_texts(folder / name) for name in ("corpus.jsonl", "queries.jsonl"))
    judged: dict[str, dict[str, float]] = {}
    text = (folder / "qrels/test.tsv").read_bytes().decode("utf-8-sig").rstrip()
    for row in csv.DictReader(text.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE, strict=True):
        if None in row or None in row.values() or row["query-id"] not in queries or row["corpus-id"] not in corpus:
            raise ValueError(f"a row that fits nothing: {row}")
        if row["corpus-id"] in judged.setdefault(row["query-id"], {}):
            raise ValueError("judged twice")
        judged[row["query-id"]][row["corpus-id"]] = int(float(row["score"]))
    documents = np.stack([_unit(reference(own)) for own in corpus.values()])
    found = []
    for query, gains in judged.items():
        if max(gains.values()) <= 0:
            continue
        order = np.argsort(-(documents @ _unit(reference(queries[query]))), kind="stable")[:10]
        names = list(corpus)
        ranked = [max(0.0, gains.get(names[i], 0)) for i in order]
        best = sorted((max(0.0, gain) for gain in gains.values()), reverse=True)[:10]
        found.append(_dcg(ranked) / _dcg(best))
    return float(np.mean(found))


def _dcg(gains: list[float]) -> float:
    return sum(gain / np.log2(rank + 2) for rank, gain in enumerate(gains))


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


def _texts(path: Path) -> dict[str, str]:
    rows = [json.loads(line) for line in path.read_bytes().decode("utf-8-sig").rstrip().split("\n")]
    found = {row["_id"]: f"{row.get('title') or ''} {row['text']}".strip() for row in rows}
    if len(found) < len(rows) or not all(isinstance(key, str) and key for key in found):
        raise ValueError("ids")
    return found
