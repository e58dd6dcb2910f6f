"""Files of other verbs: grades of raters, documents, texts to edit, to sample from and to whiten, models to merge."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.cli.conftest import Done
from tests.cli.malformed.case import DATA, RECIPE, Case, Spoil
from tests.cli.malformed.ground import FILES, MINE
from tests.model import damaged

HEAD = "text\trater\trating\n"
GRADES = HEAD + "".join(f"text {i}\trater {j}\t{1 + (i + j) % 3}\n" for i in range(6) for j in range(3))
RATERS = ("raters", "--ratings", "g.tsv", "--out", "s.jsonl")
START = ("start", "docs", "--out", "tuned", "--dry-run", "--offline")
NOTES = "my notes\nof a whole year\n"

RATINGS: dict[str, str] = {
    "empty": "",
    "a header alone": HEAD,
    "no header": GRADES.partition("\n")[2],
    "no rater": GRADES.replace("rater\t", "judge\t", 1),
    "a grade that is a word": GRADES + "text 0\trater 9\tgood\n",
    "a grade that is NaN": GRADES + "text 0\trater 9\tnan\n",
    "a grade without end": GRADES + "text 0\trater 9\tinf\n",
    "a grade that is a fraction": GRADES + "text 0\trater 9\t1.5\n",
    "a grade that is missing": GRADES + "text 0\trater 9\t\n",
    "a grade beyond all scales": GRADES + "text 0\trater 9\t999999\n",
    "one grade throughout": HEAD + "".join(f"text {i}\trater {j}\t2\n" for i in range(6) for j in range(3)),
    "an empty text": GRADES + "\trater 9\t1\n",
    "a rater without a name": GRADES + "text 0\t\t1\n",
    "a column less": GRADES + "text 0\trater 9\n",
    "a NUL": GRADES + "te\0xt\trater 9\t1\n",
}
TEXTS: dict[str, bytes] = {
    "empty": b"",
    "blank lines": b"\n\n",
    "a NUL": b"ba de fi\nba\0de go\n",
    "Latin-1": "caf\xe9 au lait\nthe au lait\n".encode("latin-1"),
    "UTF-16": "ba de fi\nfi go la\n".encode("utf-16"),
    "a Git LFS pointer": damaged.POINTER.encode(),
}
QUERIES: dict[str, object] = {
    "a weight that is NaN": {"query": "ba", "positive": "de", "weight": float("nan")},
    "a weight below none": {"query": "ba", "positive": "de", "weight": -1},
    "a weight that is a word": {"query": "ba", "positive": "de", "weight": "much"},
    "a grade that is a word": {"query": "ba", "positive": "de", "grade": "good"},
    "no positive in a list": {"query": "ba", "positive": [], "id": "q9"},
    "a positive that is a number": {"query": "ba", "positive": [1], "id": "q9"},
    "a query that is empty": {"query": "", "positive": "de", "id": "q9"},
    "a query that is a list": {"query": ["ba"], "positive": "de", "id": "q9"},
    "an id that is a list": {"query": "ba", "positive": "de", "id": ["q9"]},
    "an id that is NaN": {"query": "ba", "positive": "de", "id": float("nan")},
    "a list": ["ba", "de"],
}
SCORES: dict[str, object] = {
    "no score": {"query_id": "q0", "document_id": "d1"},
    "a score that is NaN": {"query_id": "q0", "document_id": "d1", "score": float("nan")},
    "a score that is a text": {"query_id": "q0", "document_id": "d1", "score": "0.5"},
    "a document that is null": {"query_id": "q0", "document_id": None, "score": 0.5},
    "a query that is a list": {"query_id": ["q0"], "document_id": "d1", "score": 0.5},
}


def _folder(**contents: bytes) -> Spoil:
    def spoil(folder: Path) -> None:
        (folder / "docs").mkdir()
        for name, content in contents.items():
            (folder / "docs" / name.replace("_", ".")).write_bytes(content)

    return spoil


def _in_a_circle(folder: Path) -> None:
    _folder(a_txt=b"ba de fi go\n" * 30)(folder)
    (folder / "docs" / "again").symlink_to("../docs")


DOCUMENTS: dict[str, Spoil] = {
    "not there": lambda folder: None,
    "an empty folder": _folder(),
    "a folder of pictures": _folder(a_png=b"\x89PNG\r\n\x1a\n" + bytes(100)),
    "texts that are empty": _folder(a_txt=b"", b_md=b"\n\n"),
    "a file of other columns": damaged.text("docs", '{"body": "ba"}\n'),
    "a link to itself": lambda folder: (folder / "docs").symlink_to("docs"),
}


def cases() -> Iterator[Case]:
    for name, text in RATINGS.items():
        yield Case("grades of raters", name, damaged.text("g.tsv", text), RATERS, DATA)
    yield Case("grades of raters", "as they were", damaged.text("g.tsv", GRADES), RATERS, 0, then=scored)
    for verb, command in (
        ("edit", ("edit", "--text", "bad.txt", "--out", "e.jsonl")),
        ("whiten", ("whiten", "tiny", "--text", "bad.txt", "--dim", "4", "--out", "white", "--offline")),
        ("debias", ("debias", "--model", "tiny", "--text", "bad.txt", "--out", "t.jsonl", "--offline")),
    ):
        for name, content in TEXTS.items():
            yield Case(f"texts of {verb}", name, damaged.data("bad.txt", content), command, DATA)
        yield Case(f"texts of {verb}", "a folder", lambda folder: (folder / "bad.txt").mkdir(), command, DATA)
    for name, row in QUERIES.items():
        spoil = _appended("q.jsonl", json.dumps(row))
        yield Case("queries of mine", name, spoil, (*MINE, *FILES), DATA, ("q.jsonl", "c.jsonl"))
    for name, row in SCORES.items():
        command = (*MINE, *FILES, "--filter", "scores=s.jsonl,below=0.5")
        yield Case(
            "scores of mine", name, damaged.text("s.jsonl", json.dumps(row)), command, DATA, ("q.jsonl", "c.jsonl")
        )
    for name, spoil in DOCUMENTS.items():
        yield Case("documents", name, spoil, START, DATA)
    yield Case("documents", "sound: a folder in a circle", _in_a_circle, START, 0)
    models = ("merge", "sound", "other", "--out", "soup", "--offline")
    for name, spoil in MERGED.items():
        yield Case("models to merge", name, spoil, models, RECIPE, ("sound",))
    cache = ("synth", "claif", "--text", "texts.txt", "--out", "o.jsonl", "--model", "m", "--cache", "notes.txt")
    for name, content in (("notes", NOTES), ("JSON of something else", '{"a": 1}\n')):
        yield Case(
            "cache of synth", name, _notes(content), (*cache, "--endpoint", "http://127.0.0.1:1"), DATA, ("texts.txt",)
        )
    for name, text in {"20,000 brackets": "[" * 20_000, "an open quote": "{query: 'a", "a tag": "!!set {a}"}.items():
        command = ("synth", "claif", "--text", "texts.txt", "--out", "o.jsonl", "--model", "m", "--roles", text)
        yield Case("roles of synth", name, lambda _: None, command, RECIPE, ("texts.txt",))


def _notes(content: str) -> Spoil:
    return damaged.text("notes.txt", content)


def _appended(file: str, line: str) -> Spoil:
    return lambda folder: (folder / file).write_text((folder / file).read_text(encoding="utf-8") + line + "\n")


def _copy(damage: Callable[[Path], object]) -> Spoil:
    """A second copy of the model, damaged."""

    def spoil(folder: Path) -> None:
        import shutil

        shutil.copytree(folder / "sound", folder / "other")
        damage(folder / "other")

    return spoil


MERGED: dict[str, Spoil] = {
    "one that is not there": lambda folder: None,
    "one whose weights are cut": _copy(damaged.cut("model.safetensors", 5000)),
    "one with other modules": _copy(damaged.text("modules.json", "[]")),
    "one of another size": lambda folder: (folder / "other").symlink_to("tiny"),
    "one with a layer less": _copy(damaged.field("config.json", num_hidden_layers=1)),
}


def scored(folder: Path, done: Done) -> None:
    """Every text has its score, between the lowest and the highest grade."""
    rows = [json.loads(line) for line in (folder / "s.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["text"] for row in rows] == [f"text {i}" for i in range(6)]
    assert all(1 <= row["score"] <= 3 for row in rows)
