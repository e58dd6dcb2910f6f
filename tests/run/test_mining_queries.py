"""Documents only: a language model on the loopback writes the queries, is cut off, and is started again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet

from embedkit.errors import EmbedkitError, RecipeError
from embedkit.run.mining_job import mine
from tests.mining.worlds import World
from tests.synthesis.server import Server, serving

QUIET: dict[str, Any] = {"progress": False, "device": "cpu"}


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    rows = [{"_id": f"d{i}", "title": "T" if i % 2 else "", "text": f"topic{i} is document {i}"} for i in range(20)]
    Path("c.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [*rows, {**rows[3], "_id": "again"}]))
    return tmp_path


def mined(server: Server, extra: str = "", **options: Any) -> list[dict[str, Any]]:
    synth = f"synth:m,endpoint={server.url},concurrency=2{extra}"
    given = {"depth": 30, "keep": 4, "overwrite": True, **QUIET, **options}
    mine(World(), out="m.parquet", corpus="c.jsonl", queries_from=synth, **given)
    found: list[dict[str, Any]] = parquet.read_table("m.parquet").to_pylist()
    return found


def test_every_document_answers_the_query_that_was_written_for_it(work: Path) -> None:
    lines: list[str] = []
    with serving() as server:
        rows = mined(server, ",price-in=10,price-out=20", say=lines.append)
        asked = len(server.requests)
        assert asked == len(set(server.prompts())) == 20, "a text that repeats is asked for once"
        assert rows == mined(server, say=lines.append) and len(server.requests) == asked, "answers are kept"
    assert lines[0].startswith("queries: 20 calls, roughly ") and "tokens in, at most " in lines[0]
    assert lines[1].startswith("queries: roughly ") and any("; 20 answers are there" in line for line in lines)
    assert 12 <= len(rows) <= 21 and any("documents without a query: query: refusal" in line for line in lines)
    for row in rows:
        whole = row["positive"]
        assert row["query"].startswith("What is said ") and row["query"].endswith(f"about {whole.split()[0]}?")
        assert (
            row["positive_id"] not in row["negative_id"] and whole not in row["negative"] and len(row["negative"]) == 4
        )
    titled = [row for row in rows if row["positive"].startswith("T topic")]
    assert titled, "a document is asked about with its title"


def test_cut_off_it_asks_only_what_is_missing(work: Path) -> None:
    with serving() as server:
        whole = mined(server)
        Path("m.parquet").unlink()
        Path("m.queries").unlink()
        before = len(server.requests)
        server.failures += [None] * 8 + [400]  # type: ignore[list-item]
        with pytest.raises(EmbedkitError):
            mined(server)
        assert not Path("m.parquet").exists() and Path("m.queries").exists()
        server.failures.clear()
        assert mined(server) == whole and 20 <= len(server.requests) - before <= 24


def test_a_limit_leaves_the_rest_as_documents(work: Path) -> None:
    lines: list[str] = []
    with serving() as server:
        rows = mined(server, ",limit=6", say=lines.append)
        assert len(server.requests) == 6
    assert len({row["query"] for row in rows}) <= 6 and any("beyond the limit" in line for line in lines)
    assert any(name != "again" and int(name[1:]) > 5 for row in rows for name in row["negative_id"])


def test_what_is_wrong_is_told_before_anything_is_read(work: Path) -> None:
    with pytest.raises(RecipeError, match="limit: a whole number") as caught:
        mine(World(), out="m.parquet", corpus="none.jsonl", queries_from="synth:m,limit=x", say=print, **QUIET)
    assert caught.value.where == "--queries-from"
    with pytest.raises(RecipeError, match="no such file"):
        mine(World(), out="m.parquet", corpus="c.jsonl", queries_from="synth:m,prompts=p.yaml", say=print, **QUIET)
