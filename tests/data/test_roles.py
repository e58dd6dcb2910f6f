from __future__ import annotations

import pytest

from embedkit.data import roles as roles_module
from embedkit.data.roles import BadRow, RowParser, resolve_roles
from embedkit.errors import DataError, RecipeError


def roles(columns, **explicit):
    return resolve_roles(columns, explicit, "f.tsv").columns


def test_own_names_need_no_entry_whatever_the_order():
    assert roles(["score", "negatives", "id", "positive", "query"]) == {
        "query": ("query",),
        "positive": ("positive",),
        "negative": ("negatives",),
        "score": ("score",),
    }
    assert roles(["label", "text"]) == {"text": ("text",), "label": ("label",)}


def test_explicit_roles_win_and_the_rest_goes_by_name():
    found = roles(
        ["title", "lead", "query", "negative", "n2"], query="title", positive="lead", negative=("negative", "n2")
    )
    assert found == {"query": ("title",), "positive": ("lead",), "negative": ("negative", "n2")}
    assert roles(["query", "text", "positive"], text="text") == {"text": ("text",)}
    assert roles(["query", "text", "positive"], positive="text") == {"query": ("query",), "positive": ("text",)}


@pytest.mark.parametrize(
    ("columns", "line"),
    [
        (["anchor", "positive"], "roles: {query: anchor, positive: positive}"),
        (["score", "sentence2", "sentence1"], "roles: {query: sentence1, positive: sentence2"),
        (["title", "lead"], "roles: {query: title, positive: lead}"),
        (["sentence"], "roles: {text: sentence}"),
        (["x"], "roles: {text: x}"),
        (["x", "y"], "roles: {query: COLUMN, positive: COLUMN}"),
    ],
)
def test_a_likely_column_is_never_taken_but_the_line_to_write_is_shown(columns, line):
    with pytest.raises(DataError) as caught:
        roles(columns)
    assert f"columns: {', '.join(columns)}" in str(caught.value)
    assert line in caught.value.cure


def test_contradictions_and_wrong_names():
    with pytest.raises(DataError, match=r"no column 'qurey'\n.*did you mean 'query'"):
        roles(["query", "positive"], query="qurey")
    with pytest.raises(DataError, match="both a column `query` and a column `text`"):
        roles(["query", "text"])
    with pytest.raises(DataError, match="'negative' and 'negatives' both"):
        roles(["query", "negative", "negatives"])
    with pytest.raises(RecipeError, match="`query` takes one column, not 2"):
        roles(["a", "b"], query=("a", "b"))
    with pytest.raises(RecipeError, match="stands alone"):
        roles(["a", "b"], text="a", positive="b")


def parser(columns, *, textual=False, **explicit):
    return RowParser(resolve_roles(columns, explicit, "f"), lambda label: len(str(label)), textual=textual)


def test_lists_are_taken_whole_and_columns_in_order():
    parse = parser(["query", "positives", "a", "b"], negative=("a", "b"))
    example = parse({"query": "q", "positives": ["p", "r"], "a": ["n1", "n2"], "b": "n3"}, "f:1")
    assert (example.positives, example.negatives) == (("p", "r"), ("n1", "n2", "n3"))
    assert example.origin == "f:1"
    assert parse({"query": "q", "positives": "p", "a": [], "b": []}, "").negatives == ()


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"query": "q"}, "missing field 'positive'"),
        ({"query": "", "positive": "p"}, "empty text in 'query'"),
        ({"query": " \t\n", "positive": "p"}, "empty text in 'query'"),
        ({"query": "q", "positive": None}, "null where text belongs in 'positive'"),
        ({"query": 3, "positive": "p"}, "a number where text belongs in 'query'"),
        ({"query": True, "positive": "p"}, "true or false where text belongs in 'query'"),
        ({"query": ["q"], "positive": "p"}, "a list where text belongs in 'query'"),
        ({"query": {"t": "q"}, "positive": "p"}, "an object where text belongs in 'query'"),
        ({"query": "q", "positive": []}, "empty list in 'positive'"),
        ({"query": "q", "positive": ["p", 1]}, "a number where text belongs in 'positive'"),
        ({"query": "q", "positive": ["p", " "]}, "empty text in 'positive'"),
        ({"query": "\ud83d", "positive": "p"}, "half of a surrogate pair in 'query'"),
        ({"query": "a\0b", "positive": "p"}, "a NUL character in 'query'"),
        ({"query": "\u200b\ufeff\u00ad", "positive": "p"}, "text without a visible character in 'query'"),
        ({"query": "\x1a", "positive": "p"}, "text without a visible character in 'query'"),
        ({"query": "\u3164\ufe0f", "positive": "p"}, "text without a visible character in 'query'"),
        ({"query": float("nan"), "positive": "p"}, "NaN where text belongs in 'query'"),
    ],
)
def test_bad_texts(row, reason):
    with pytest.raises(BadRow, match="^" + reason.replace("(", r"\(") + "$"):
        parser(["query", "positive"])(row, "")


@pytest.mark.parametrize(
    ("score", "negatives", "reason"),
    [
        (float("nan"), [], "non-finite score in 'score'"),
        (float("inf"), [], "non-finite score in 'score'"),
        (10**400, [], "non-finite score in 'score'"),
        ("0.5", [], "text where a number belongs in 'score'"),
        (None, [], "null where a number belongs in 'score'"),
        (True, [], "true or false where a number belongs in 'score'"),
        ([1.0, 2.0, 3.0], ["n"], "3 scores for one positive and 1 negatives"),
        ([1.0], [], "1 scores for one positive and 0 negatives"),
        ([1.0, None], ["n"], "null where a number belongs in 'score'"),
    ],
)
def test_bad_scores(score, negatives, reason):
    parse = parser(["query", "positive", "negatives", "score"])
    with pytest.raises(BadRow, match=reason):
        parse({"query": "q", "positive": "p", "negatives": negatives, "score": score}, "")


def test_scores_of_a_source_are_of_one_kind():
    parse = parser(["query", "positive", "negatives", "score"])
    row = {"query": "q", "positive": "p", "negatives": ["n", "m"]}
    assert parse({**row, "score": [1, 0.5, 0]}, "").scores == (1.0, 0.5, 0.0)
    with pytest.raises(BadRow, match="one score where others have a list"):
        parse({**row, "score": 1.0}, "")
    with pytest.raises(BadRow, match="a score and 2 positives"):
        parser(["query", "positive", "score"])({"query": "q", "positive": ["p", "o"], "score": 1}, "")


def test_score_columns_and_text_numbers():
    parse = parser(["query", "positive", "negative", "s1", "s2"], textual=True, score=("s1", "s2"))
    row = {"query": "q", "positive": "p", "negative": "n", "s1": " 0.75", "s2": "-1e-1"}
    assert parse(row, "").scores == (0.75, -0.1)
    for wrong, reason in (("high", "not a number in 's1'"), ("nan", "non-finite"), ("", "not a number")):
        with pytest.raises(BadRow, match=reason):
            parse({**row, "s1": wrong}, "")


def test_labels():
    parse = parser(["text", "label"])
    assert parse({"text": "t", "label": 12}, "").label == 2
    assert parse({"text": "t", "label": " abc "}, "").label == 3
    for wrong, reason in (
        (None, "null where a label"),
        (1.5, "a fraction where a label"),
        (float("nan"), "NaN where a label"),
        (float("inf"), "a number where a label"),
        ("", "empty text"),
        (2**70, "range"),
    ):
        with pytest.raises(BadRow, match=reason):
            parse({"text": "t", "label": wrong}, "")


def labels(values, *, textual=False):
    codes = {}
    parse = RowParser(
        resolve_roles(["text", "label"], {}, "f"), lambda x: codes.setdefault(x, len(codes)), textual=textual
    )
    return [parse({"text": "t", "label": value}, "").label for value in values]


def test_labels_are_classes_as_written():
    assert labels(["007", "7", "08540", "8540", "1.0", "1", " 7 ", "+7"], textual=True) == [0, 1, 2, 3, 4, 5, 1, 6]
    assert labels([1, 1.0, 2.0, "1", "1.0", True, -0.0, 0]) == [0, 0, 1, 0, 2, 0, 3, 3]


ABSENT = [None, "", "  ", "\u200b", float("nan")]


@pytest.mark.parametrize("absent", [*ABSENT, *([x] for x in ABSENT), [], [None, ""]])
def test_an_absent_negative_is_none(absent):
    parse = parser(["query", "positive", "a", "b"], negative=("a", "b"))
    row = {"query": "q", "positive": "p"}
    assert parse({**row, "a": absent, "b": "n"}, "").negatives == ("n",)
    assert parse(
        {**row, "a": absent, "b": ["m", *([absent] if not isinstance(absent, list) else absent)]}, ""
    ).negatives == ("m",)
    assert parse({**row, "a": absent, "b": absent}, "").negatives == ()
    assert parse({**row, "b": "n"}, "").negatives == ("n",)
    assert parse(row, "").negatives == ()


def test_what_is_wrong_in_a_negative_is_still_a_bad_row():
    parse = parser(["query", "positive", "negatives"])
    for wrong, reason in ((3, "a number where text"), (["n", 3], "a number where text"), ("a\0", "a NUL")):
        with pytest.raises(BadRow, match=reason):
            parse({"query": "q", "positive": "p", "negatives": wrong}, "")


def test_the_score_of_an_absent_negative_goes_with_it():
    parse = parser(
        ["query", "positive", "n1", "n2", "s", "s1", "s2"], textual=True, negative=("n1", "n2"), score=("s", "s1", "s2")
    )
    row = {"query": "q", "positive": "p", "n1": "a", "n2": "b", "s": "1", "s1": "2", "s2": "3"}
    assert parse(row, "").scores == (1.0, 2.0, 3.0)
    for score in ("", "3"):
        example = parse({**row, "n1": "", "s1": score}, "")
        assert (example.negatives, example.scores) == (("b",), (1.0, 3.0))
    with pytest.raises(BadRow, match="1 scores for one positive and 0 negatives"):
        parse({**row, "n1": "", "n2": ""}, "")
    lists = parser(["query", "positive", "negatives", "score"])
    example = lists({"query": "q", "positive": "p", "negatives": ["a", None], "score": [1, 2]}, "")
    assert (example.negatives, example.scores) == (("a",), (1.0, 2.0))


@pytest.mark.parametrize("text", ["1_000", "\uff11\uff12", "0,5", "0x10", "1e", ""])
def test_only_plain_numbers_are_scores(text):
    parse = parser(["query", "positive", "score"], textual=True)
    with pytest.raises(BadRow, match="not a number"):
        parse({"query": "q", "positive": "p", "score": text}, "")


def test_columns_in_messages_are_quoted_and_cut():
    names = ["root:x:0:0:root:/root:/bin/sh" * 20, *(f"c{i}" for i in range(60_000))]
    with pytest.raises(DataError) as caught:
        roles(names)
    assert len(str(caught.value)) < 1500 and "'root:x" in str(caught.value) and "59,981 more" in str(caught.value)
    with pytest.raises(DataError, match=r"separated by semicolons"):
        roles(["query;positive"])


def test_of_60_000_columns_only_those_shown_are_looked_over(monkeypatch):
    asked = []
    monkeypatch.setattr(roles_module, "named", lambda name: asked.append(name) or name)
    with pytest.raises(DataError, match="no column is named query or text"):
        resolve_roles([f"c{i}" for i in range(60_000)], {}, "wide.csv")
    assert len(asked) < 10
    with pytest.raises(DataError, match=r"roles: \{query: anchor, positive: answer\}"):
        resolve_roles(["anchor", "answer", *(f"c{i}" for i in range(60_000))], {}, "wide.csv")
    assert asked == ["anchor", "answer"]
