"""``embedkit debias``: what it refuses before it starts, and what it leaves behind."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from embedkit.disk.locks import hold_file
from tests.cli.conftest import Done

Run = Callable[..., Done]


@pytest.fixture
def debias(embedkit: Run, work: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("XDG_CACHE_HOME", str(work / "cache"))
    return lambda *more: embedkit("debias", "--text", "text.txt", "--model", "tiny", "--offline", *more)


def test_the_same_triplets_packed_or_not(debias: Run, work: Path, material: Path) -> None:
    for name in ("t.v2.jsonl", "packed.jsonl.gz"):
        done = debias("--out", name)
        assert done.code == 0, done.err
    plain, packed = Path("t.v2.jsonl").read_bytes(), gzip.decompress(Path("packed.jsonl.gz").read_bytes())
    assert plain == packed and {"query", "positive", "negative"} == json.loads(plain.splitlines()[0]).keys()
    made = {p.name for p in work.iterdir() if p.is_file()} - {p.name for p in material.iterdir()}
    assert made == {f"{name}.{end}" for name in ("t.v2", "packed") for end in ("json", "svg")} | {
        "t.v2.jsonl",
        "packed.jsonl.gz",
    }


def test_nothing_is_overwritten_without_a_word(debias: Run, work: Path) -> None:
    for there in ("t.jsonl", "t.json", "t.svg"):
        Path(there).write_text("mine")
        done = debias("--out", "t.jsonl")
        assert (done.code, done.err.startswith(f"{there}: exists already")) == (1, True)
        assert Path(there).read_text() == "mine"
        Path(there).unlink()
    for name in ("t.json", "t", "t.gz"):
        assert (debias("--out", name).code, Path(name).exists()) == (2, False)
    assert debias("--out", "text.txt/t.jsonl").code == 1
    assert debias("--out", "x" * 5000 + ".jsonl").code == 1
    with hold_file(Path("t.jsonl"), "sampling triplets"):
        done = debias("--out", "t.jsonl")
        assert done.code == 1 and "has been sampling triplets here since" in done.err
