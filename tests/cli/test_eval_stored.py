"""``embedkit eval --embeddings``: the table, what is written, what is refused before anything is encoded."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from embedkit.model.running.encoder import Encoder
from tests.cli.conftest import Done

Run = Callable[..., Done]
EVAL = ("eval", "tiny", "--suite", "suite.yaml", "--resamples", "100")


def test_fewer_bytes(embedkit: Run, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(work / "cache"))
    forms = "int8,truncate=8+binary"
    done = embedkit(*EVAL, "--embeddings", forms, "--out", "scores")
    assert done.code == 0, done.err
    for said in ("Embeddings in fewer bytes", "float32", "128", "int8", "32", "truncate=8+binary", "spearman"):
        assert said in done.out, done.out
    scores = json.loads(Path("scores/embeddings/truncate=8+binary/scores.json").read_text())
    assert scores["tasks"][0]["details"]["stored"]["bytes"] == 1
    encoded = embedkit(*EVAL, "--embeddings", forms, "--json")
    found = json.loads(encoded.out)["embeddings"]
    assert [one["form"] for one in found] == forms.split(",")
    assert found[1]["comparison"][0]["after"] == scores["tasks"][0]["metrics"]["spearman"]


def test_refused_before_anything_is_encoded(embedkit: Run, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Encoder, "encode", None)
    for forms, said in (("int4", "not stored as 'int4'"), ("truncate=99", "have no first 99")):
        done = embedkit(*EVAL, "--embeddings", forms)
        assert done.code == 2 and said in done.err and "--embeddings" in done.err, done.err
    done = embedkit(*EVAL[:-1], "0", "--embeddings", "int8")
    assert done.code == 2 and "needs resamples" in done.err, done.err
