"""Queries and documents as what is mined."""

from __future__ import annotations

from pathlib import Path

import pytest

from embedkit.data.text import text_id
from embedkit.errors import DataError
from embedkit.mining.assembly import Assembly
from embedkit.mining.problem import DOCUMENTS, Problem


def made(*positives: str) -> Problem:
    gathered = Assembly()
    gathered.query("q", ("a", "b"), "Q")
    gathered.query("r", positives)
    gathered.document("c", 7)
    return gathered.finish()


def test_what_is_known_of_a_query_is_itself_and_all_that_answers_it() -> None:
    found = made("b")
    assert [sorted(known) for known in found.known] == [
        sorted(map(text_id, ["q", "a", "b"])),
        sorted(map(text_id, ["r", "b"])),
    ]


def test_the_digest_is_that_of_all_of_it() -> None:
    assert made("a").digest == made("a").digest != made("b").digest and made("a", "b").digest != made("a").digest


def test_another_process_reads_what_was_written(tmp_path: Path) -> None:
    problem = made()
    problem.write(tmp_path)
    back = Problem.read(tmp_path)
    assert back.digest == problem.digest and list(back.positives) == list(problem.positives)
    assert list(back.query_ids) == ["Q", "q1"] and back.document_ids[0] == "7"
    (tmp_path / DOCUMENTS).write_bytes(b"no Parquet")
    with pytest.raises(DataError, match=DOCUMENTS):
        Problem.read(tmp_path)


def test_nothing_to_mine_is_refused() -> None:
    with pytest.raises(DataError, match="no query"):
        Problem([], [], ["a"], ["1"], []).check()
    with pytest.raises(DataError, match="corpus is empty"):
        Problem(["q"], ["1"], [], [], [()]).check()
