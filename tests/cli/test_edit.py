"""``embedkit edit``: a file that trains, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from embedkit.data.sources import load_source
from embedkit.recipe.schema import Source
from tests.cli.conftest import Done

Run = Callable[..., Done]
TEXTS = ["The red car has 12 doors.", "He is at the old pier.", "日本語", "A man in a red coat feeds the birds."]


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    path = tmp_path / "texts.txt"
    path.write_text("\n".join(TEXTS) + "\n", encoding="utf-8")
    return path


def test_it_writes_what_a_source_reads(embedkit: Run, texts: Path, tmp_path: Path) -> None:
    out = tmp_path / "t.jsonl"
    done = embedkit("edit", "--text", texts, "--out", out)
    assert done.code == 0, done.err
    assert "number" in done.out and "1 negatives of 4 texts (25%); fewer than 50%" in done.out
    assert "1 texts without any are left out" in done.out and "3 rows" in done.out
    rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [row["query"] for row in rows] == [TEXTS[0], TEXTS[1], TEXTS[3]]
    assert all(len(row["negative"]) == len(row["rule"]) > 0 for row in rows)
    read = load_source(Source(path=str(out), roles={"query": "query", "positive": "positive", "negative": "negative"}))
    assert read.rows == 3
    assert [list(e.negatives) for e in read.get(range(3))] == [row["negative"] for row in rows]
    again = tmp_path / "again.jsonl"
    assert embedkit("edit", "--text", texts, "--out", again).code == 0
    assert again.read_bytes() == out.read_bytes()
    other = tmp_path / "other.jsonl"
    assert embedkit("edit", "--text", texts, "--out", other, "--seed", 1).code == 0
    assert other.read_bytes() != out.read_bytes()


def test_of_pairs_the_positive_is_edited(embedkit: Run, tmp_path: Path) -> None:
    (tmp_path / "pairs.tsv").write_text("q\td\nhow many?\tThere are 40 doors.\n")
    out = tmp_path / "t.jsonl"
    args = ("--query", "q", "--column", "d", "--rules", "number")
    assert embedkit("edit", "--text", tmp_path / "pairs.tsv", "--out", out, *args).code == 0
    row = json.loads(out.read_text())
    assert (row["query"], row["positive"], row["rule"]) == ("how many?", "There are 40 doors.", ["number"])
    assert row["negative"][0].startswith("There are ") and row["negative"][0] != row["positive"]


def test_what_it_refuses(embedkit: Run, texts: Path, tmp_path: Path) -> None:
    out = tmp_path / "t.jsonl"
    assert embedkit("edit", "--text", texts, "--out", tmp_path / "t.csv").code == 2
    assert "did you mean" in embedkit("edit", "--text", texts, "--out", out, "--rules", "wrds").err
    (tmp_path / "plain.txt").write_text("go\nstop\n")
    none = embedkit("edit", "--text", tmp_path / "plain.txt", "--out", out)
    assert none.code == 3 and "changes any of 2 texts" in none.err and not out.exists()
    assert embedkit("edit", "--text", tmp_path / "absent.txt", "--out", out).code == 3
    out.write_text("mine\n")
    refused = embedkit("edit", "--text", texts, "--out", out)
    assert refused.code == 1 and "exists already" in refused.err and out.read_text() == "mine\n"
    assert embedkit("edit", "--text", texts, "--out", out, "--overwrite").code == 0
