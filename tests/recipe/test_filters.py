"""Filters as they are written: what is read, and what is refused with a cure."""

from __future__ import annotations

from typing import Any

import pytest

from embedkit.errors import RecipeError
from embedkit.recipe.filters import FILTERS, Named, Rule, parse

GOOD: list[tuple[str, Any, dict[str, Any]]] = [
    ("rank=50:100", (50, 100), {}),
    ("rank=10:", (10, None), {}),
    ("score=:0.8", (None, 0.8), {}),
    ("score=-0.2:0.8", (-0.2, 0.8), {}),
    ("margin=0.95", 0.95, {}),
    ("absolute-margin=0.1", 0.1, {}),
    ("near-duplicates", 0.8, {}),
    ("near-duplicates=0.6,words=2", 0.6, {"words": 2}),
    ("cross-encoder=a/b", "a/b", {"rule": Rule("below", 0.1), "ruled": False}),
    ("cross-encoder=a/b,margin=0.9,batch=8", "a/b", {"rule": Rule("margin", 0.9), "ruled": True, "batch": 8}),
    ("scores=f,1.parquet,absolute-margin=-2", "f,1.parquet", {"rule": Rule("absolute-margin", -2.0), "ruled": True}),
    ("guide=../model", "../model", {"rule": Rule("absolute-margin", 0.0), "ruled": False}),
    (
        "judge=m,endpoint=http://h:1/v1?a=b,key-env=K",
        "m",
        {"rule": Rule("below", 0.5), "ruled": False, "endpoint": "http://h:1/v1?a=b", "key-env": "K"},
    ),
]


@pytest.mark.parametrize(("text", "value", "settings"), GOOD)
def test_what_is_written_is_read(text: str, value: Any, settings: dict[str, Any]) -> None:
    assert parse(text) == Named(text.partition("=")[0].partition(",")[0], value, settings)


def test_every_filter_is_among_the_examples() -> None:
    assert {text.partition("=")[0] for text, _, _ in GOOD} == set(FILTERS)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("margn=0.95", "did you mean 'margin'?"),
        ("", "known: rank"),
        ("margin", "margin: nothing is given"),
        ("margin=", "margin: nothing is given"),
        ("near-duplicates=", "nothing is given"),
        ("margin=95", "above 0 to 1 is expected, found '95'"),
        ("margin=0", "above 0 to 1"),
        ("margin=nan", "found 'nan'"),
        ("margin=1_0", "found '1_0'"),
        ("margin=0.95,below=1", "margin has no setting 'below'"),
        ("absolute-margin=inf", "a number is expected"),
        ("rank=100:50", "ends that rise"),
        ("rank=0:5", "a whole number from 1"),
        ("rank=7", "two ends"),
        ("rank=:", "two ends"),
        ("rank=1.5:3", "a whole number"),
        ("score=a:b", "a number is expected, found 'a:b'"),
        ("near-duplicates=1.2", "above 0 to 1"),
        ("near-duplicates=0.8,word=3", "did you mean 'words'?"),
        ("near-duplicates=0.8,words=0", "words: a whole number from 1"),
        ("cross-encoder=a,below=0.1,margin=0.9", "below and margin are two rules"),
        ("cross-encoder=a,below=0.1,below=0.2", "below is given twice"),
        ("cross-encoder=,below=0.1", "nothing is given"),
        ("scores=f.jsonl", "no rule says"),
        ("judge=m,endpoint=", "endpoint: an address is expected"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(text: str, told: str) -> None:
    with pytest.raises(RecipeError) as error:
        parse(text, "--filter")
    assert told in str(error.value) and error.value.where == "--filter" and error.value.cure


def test_a_secret_is_not_shown() -> None:
    with pytest.raises(RecipeError) as error:
        parse("judge=m,key-env=K,api_key=sk-0123456789abcdefghijklmnopqrstuvwxyz0123456789")
    assert "0123456789abcdef" not in str(error.value)
