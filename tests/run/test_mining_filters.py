"""A language model as judge of mined negatives: against a server on the loopback, cut off, and started again."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from embedkit.errors import EmbedkitError, RecipeError
from embedkit.mining.filters.base import notes_of
from embedkit.mining.filters.named import Setting
from embedkit.mining.miner import Miner
from embedkit.mining.problem import Problem
from embedkit.mining.table import MinedTable
from embedkit.recipe.filters import parse
from embedkit.recipe.mining import Search
from embedkit.run.mining_filters import filters_of
from embedkit.vectors.store import VectorStore
from tests.mining.worlds import World, problem
from tests.synthesis.causal import tiny_lm
from tests.synthesis.server import REFUSAL, Server, judged, serving

KEY = "sk-test-0123456789abcdef"
SEARCH = Search(depth=12, keep=12)


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as state:
        yield state


def judge(folder: Path, server: Server, extra: str = "") -> tuple[MinedTable, dict[str, int]]:
    given, store = problem(), VectorStore(folder / "store")
    named = [parse(f"judge=tiny,endpoint={server.url},concurrency=2{extra}", "--filter")]
    with filters_of(named, Setting(given, store, where="--filter"), folder / "answers.cache") as filters:
        table = Miner(given, SEARCH, store, filters=filters).mine(World().by)
        return table, notes_of(filters)


def unfiltered(folder: Path) -> tuple[Problem, MinedTable]:
    given = problem()
    return given, Miner(given, SEARCH, VectorStore(folder / "store")).mine(World().by)


def test_what_answers_the_query_goes(tmp_path: Path, server: Server) -> None:
    given, every = unfiltered(tmp_path)
    table, notes = judge(tmp_path, server)
    useless = 0
    for i, query in enumerate(given.queries):
        said = {row: judged(query, given.documents[row], graded=False) for row in every.negatives(i)}
        assert table.negatives(i) == [
            row for row, answer in said.items() if "no" in answer.lower() and answer != REFUSAL
        ]
        useless += sum(answer in (REFUSAL, "It depends.") for answer in said.values())
    assert len(server.requests) == every.report["negatives"] == len(set(server.prompts()))
    assert notes["judge below 0.5: no usable score"] == useless > 0
    assert notes["answers: refusal"] + notes["answers: neither yes nor no"] == useless
    request = server.requests[0]
    assert request["temperature"] == 0 and request["model"] == "tiny"


def test_with_a_rule_it_grades_positives_too(tmp_path: Path, server: Server) -> None:
    given, every = unfiltered(tmp_path)
    table, _ = judge(tmp_path, server, ",absolute-margin=0.1")
    usable = ("0.0", "0.2", "0.4", "0.6", "0.8")
    kept = 0
    for i, query in enumerate(given.queries):
        answers = [judged(query, given.documents[row], graded=True) for row in given.positives[i]]
        grades = [float(answer) for answer in answers if answer in usable]
        limit = min(grades) - 0.1 if grades else -1.0
        said = {row: judged(query, given.documents[row], graded=True) for row in every.negatives(i)}
        wanted = [row for row, answer in said.items() if answer in usable and float(answer) < limit]
        assert table.negatives(i) == wanted
        kept += len(wanted)
    assert 0 < kept < every.report["negatives"]


def test_what_was_answered_is_not_asked_again(tmp_path: Path, server: Server) -> None:
    """A server that gives up in the middle; the same command then asks what is missing."""
    server.failures = [None] * 20 + [400]
    with pytest.raises(EmbedkitError, match="HTTP 400"):
        judge(tmp_path, server)
    answered = (tmp_path / "answers.cache").read_bytes().count(b"\n")
    assert answered >= 20
    before = len(server.requests)
    table, notes = judge(tmp_path, server)
    assert len(server.requests) - before == unfiltered(tmp_path)[1].report["negatives"] - answered
    asked = len(server.requests)
    again, same = judge(tmp_path, server)
    assert len(server.requests) == asked and same == notes and (again.rows == table.rows).all()


def test_the_key_is_in_the_header_and_nowhere_else(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    caplog.set_level(logging.DEBUG)
    server.echo, server.failures = True, [500]
    with pytest.raises(EmbedkitError) as error:
        server.failures += [None] * 30 + [401]
        judge(tmp_path, server, ",key-env=MY_KEY")
    assert {headers["Authorization"] for headers in server.headers} == {f"Bearer {KEY}"}
    assert KEY not in str(error.value) and KEY not in caplog.text and caplog.records
    assert KEY not in (tmp_path / "answers.cache").read_text()


def test_your_prompt_takes_the_place_of_ours(tmp_path: Path, server: Server) -> None:
    prompts = tmp_path / "p.yaml"
    prompts.write_text('answers: {messages: [{content: "Query: {{ query }}\\nDocument: {{ document }}"}]}\n')
    judge(tmp_path, server, f",prompts={prompts}")
    assert server.prompts()[0].startswith("Query: query")
    with pytest.raises(RecipeError, match="no such file"):
        judge(tmp_path, server, ",prompts=absent.yaml")


def test_a_wrong_address_is_the_filters(tmp_path: Path, server: Server) -> None:
    server.url = "ftp://x"
    with pytest.raises(RecipeError) as error:
        judge(tmp_path, server)
    assert error.value.where == "--filter"


def test_a_local_model_judges(tmp_path: Path) -> None:
    """A tiny one says nonsense: nothing is shown to be a negative, and that is counted."""
    given, store = problem(2, 10, 1), VectorStore(tmp_path / "store")
    named = [parse(f"judge={tiny_lm(tmp_path / 'lm')}")]
    with filters_of(named, Setting(given, store, device="cpu"), tmp_path / "answers.cache") as filters:
        table = Miner(given, Search(depth=3, keep=3), store, filters=filters).mine(World().by)
        notes = notes_of(filters)
    removed = table.report["removed"]["judge below 0.5"]
    assert (
        removed + table.report["negatives"] == table.report["candidates"] - table.report["removed"]["known positives"]
    )
    assert (
        notes["judge below 0.5: no usable score"] <= removed and len(Path(tmp_path / "answers.cache").read_text()) > 0
    )
