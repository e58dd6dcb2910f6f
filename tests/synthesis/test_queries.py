"""Queries written for documents."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from pyarrow import parquet

from embedkit.synthesis.prompts import Prompter
from embedkit.synthesis.queries import Queries
from embedkit.types import Example
from tests.cli.conftest import Done, embedkit  # noqa: F401  (a fixture)
from tests.synthesis.server import Server
from tests.synthesis.test_claif import Model
from tests.tiny import sentences, tiny_bert

TEXTS = [Example(f"Paper {i} is about things.") for i in range(40)]


def test_a_query_for_each_document(prompter: Prompter) -> None:
    task, model = Queries(prompter), Model()
    rows = list(task.rows(TEXTS, model))
    assert [call.kind for call in model.asked] == ["query"] * 40
    (planned,) = task.plan(TEXTS)
    assert (planned.count, planned.first) == (40, model.asked[0])
    assert len(rows) + task.dropped["query: refusal"] == 40 and task.dropped["query: refusal"] > 0
    assert all(row["query"].startswith("What is said ") and row["positive"].startswith("Paper ") for row in rows)
    assert len({call.messages[0][1].partition("form of ")[2][:12] for call in model.asked}) == 3, (
        "all forms are asked for"
    )


def test_a_document_is_no_query_for_itself(prompter: Prompter) -> None:
    task = Queries(prompter)
    assert list(task.rows(TEXTS[:1], Model(query="paper 0 is  about things."))) == []
    assert task.dropped == {"query that repeats its document": 1}


def test_negatives_are_mined_for_them(
    embedkit: Callable[..., Done],  # noqa: F811
    server: Server,
    tmp_path: Path,
    monkeypatch: object,
) -> None:
    import pytest

    assert isinstance(monkeypatch, pytest.MonkeyPatch)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    tiny_bert("tiny")
    corpus = [{"_id": f"d{i}", "title": f"t{i}", "text": text} for i, text in enumerate(sentences(20, shortest=6))]
    Path("corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in corpus))
    made = ("--text", "corpus.jsonl", "--out", "queries.jsonl", "--endpoint", server.url, "--model", "lm")
    assert (done := embedkit("synth", "queries", *made)).code == 0, done.err
    mined = ("--model", "tiny", "--queries", "queries.jsonl", "--corpus", "corpus.jsonl", "--device", "cpu")
    done = embedkit("mine", *mined, "--keep", "3", "--out", "mined.parquet", "--offline")
    assert done.code == 0 and "20 documents" in done.out, done
    written = [json.loads(line) for line in Path("queries.jsonl").read_text().splitlines()]
    rows = parquet.read_table("mined.parquet").to_pylist()
    texts = {row["text"]: row["_id"] for row in corpus}
    assert [row["positive_id"] for row in rows] == [texts[row["positive"]] for row in written]
    assert all(len(row["negative"]) == 3 for row in rows)
