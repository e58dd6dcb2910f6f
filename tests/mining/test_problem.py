"""Queries and documents as what is mined."""

from __future__ import annotations

import pytest

from embedkit.data.text import text_id
from embedkit.errors import DataError
from embedkit.mining.problem import Gatherer, of_examples
from embedkit.types import Example


def test_rows_of_one_query_share_their_positives_and_every_text_stands_once() -> None:
    found = of_examples(
        [
            Example("q", ("a", "b"), ("c",)),
            Example("r", ("b",)),
            Example(" q ", ("d",), ("a",)),
        ],
        ["e", "c  "],
    )
    assert list(found.queries) == ["q", "r"] and list(found.documents) == ["a", "b", "c", "d", "e"]
    assert list(found.positives) == [(0, 1, 3), (1,)]
    assert found.known[0].tolist() == sorted(map(text_id, ["q", "a", "b", "d"]))


def test_ids_are_those_of_the_data() -> None:
    gathered = Gatherer()
    gathered.document("a", "7")
    gathered.document("a", "8")
    gathered.query("q", ["a", "b"], "Q1")
    found = gathered.finish()
    assert list(found.document_ids) == ["7", "d1"] and list(found.query_ids) == ["Q1"]


def test_the_digest_is_that_of_all_of_it() -> None:
    def digest(*positives: str) -> str:
        return of_examples([Example("q", ("a",)), Example("r", positives)], ["b"]).digest

    assert digest("a") == digest("a") != digest("b") and digest("a", "b") != digest("a")


def test_nothing_to_mine_is_refused() -> None:
    with pytest.raises(DataError, match="no query"):
        of_examples([], ["a"])
    with pytest.raises(DataError, match="corpus is empty"):
        of_examples([Example("q")])
