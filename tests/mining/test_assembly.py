"""Problems put together: ids, positives by text, titles."""

from __future__ import annotations

import pytest

from embedkit.errors import DataError
from embedkit.mining.assembly import ADDED, MERGED, Assembly
from embedkit.mining.problem import Problem


def answers(problem: Problem) -> dict[str, list[str]]:
    return {
        name: [problem.document_ids[row] for row in rows]
        for name, rows in zip(problem.query_ids, problem.positives, strict=True)
    }


def test_a_positive_is_the_document_of_its_text_and_one_that_the_corpus_lacks_is_added() -> None:
    made = Assembly()
    made.query("q one", ["green  tea", "nowhere"], 7)
    made.query("q two", ["milk"], "b")
    for name, text in ((1, "milk"), (2, "green tea"), (3, "green tea"), (4, "d5")):
        made.document(text, name)
    found = made.finish()
    assert answers(found) == {"7": ["2", "d4"], "b": ["1"]}
    assert found.documents == ["milk", "green tea", "green tea", "d5", "nowhere"]
    assert made.notes == {ADDED: 1}


def test_a_text_answers_under_every_title_that_it_has() -> None:
    """Else the document that a positive was taken from would be its query's hardest negative."""
    made = Assembly()
    made.query("q", ["the text"])
    made.document("A title the text", "a", alone="the text")
    made.document("Another title the text", "b", alone="the text")
    made.document("other", "c")
    assert answers(made.finish()) == {"q0": ["a", "b"]}
    assert not made.notes


def test_queries_of_one_text_are_one_with_all_positives() -> None:
    made = Assembly()
    made.query("q", ["a"], "1")
    made.query(" q", ["b"], "1")
    made.query("q", ["c"], "2")
    for text in "abc":
        made.document(text, text)
    assert answers(made.finish()) == {"1": ["a", "b", "c"]}
    assert made.notes == {MERGED: 1}


def test_a_document_says_itself_what_it_answers() -> None:
    made = Assembly()
    made.document("x", "1", answers=["q", "r"])
    made.document("x", "2", answers=["r"])
    assert answers(made.finish()) == {"q0": ["1"], "q1": ["1", "2"]}


def test_what_must_be_there_is_added_without_answering() -> None:
    made = Assembly()
    made.query("q", ["a"])
    made.want(["b", "a", "b"])
    found = made.finish()
    assert found.documents == ["a", "b"] and found.positives == [(0,)]


def test_made_ids_are_nobody_elses() -> None:
    made = Assembly()
    made.query("q", ["lacking"])
    made.document("x", "d1")
    assert made.finish().document_ids == ["d1", "_d1"]


@pytest.mark.parametrize(
    ("first", "second", "what"),
    [
        ("d", "d", "the id 'd' is that of an earlier document"),
        (7, 7, "the id 7 is that of an earlier document"),
        (7, "7", 'ids 7 and "7", a number and a text, are one id'),
        ("7", 7, 'ids 7 and "7", a number and a text, are one id'),
    ],
)
def test_ids_of_documents_that_repeat_are_refused(first: str | int, second: str | int, what: str) -> None:
    made = Assembly()
    made.document("x", first, "f:1")
    with pytest.raises(DataError) as caught:
        made.document("y", second, "f:2")
    assert caught.value.what == what and caught.value.where == "f:2" and caught.value.cure


def test_an_id_of_two_queries_is_refused() -> None:
    for first, second in (("1", "1"), (1, "1")):
        made = Assembly()
        made.query("x", (), first, "f:1")
        with pytest.raises(DataError, match=r"^f:2: .*(earlier query|are one id)"):
            made.query("y", (), second, "f:2")


def test_nothing_is_refused() -> None:
    for fill, what in ((lambda a: a.document("x"), "no query"), (lambda a: a.query("x"), "corpus is empty")):
        made = Assembly()
        fill(made)
        with pytest.raises(DataError, match=what):
            made.finish()


def test_numbers_of_positives_follow_them_to_their_documents() -> None:
    made = Assembly()
    made.query("q", ["milk", "nowhere"], marks={"weight": [0.5, 2.0]})
    made.query("r", ["milk"], marks={"weight": [0.25]})
    made.query("q", ["milk", "tea"], marks={"weight": (0.5,)})  # one for all; milk has it already
    made.document("A title milk", "a", alone="milk")
    made.document("Another title milk", "b", alone="milk")
    made.document("tea", "c")
    found = made.finish()
    assert answers(found) == {"q0": ["a", "b", "d3", "c"], "q1": ["a", "b"]}
    assert found.marks == {"weight": [(0.5, 0.5, 2.0, 0.5), (0.25, 0.25)]}


def test_grades_stand_with_the_documents_that_answer() -> None:
    made = Assembly()
    made.query("q", name="q")
    made.document("one", "a", answers=["q", "new"], grades=[3, 1])
    made.document("two", "b", answers=["q"], grades=[2])
    found = made.finish()
    assert answers(found) == {"q": ["a", "b"], "q1": ["a"]} and found.marks == {"grade": [(3, 2), (1,)]}


def test_a_pair_with_two_numbers_or_none_is_refused() -> None:
    made = Assembly()
    made.query("q", ["milk"], where="f:1", marks={"weight": [1]})
    with pytest.raises(DataError, match="has weight 2, and had 1 before") as caught:
        made.query("q", ["milk"], where="f:2", marks={"weight": [2]})
    assert caught.value.where == "f:2"
    made = Assembly()
    made.query("q", ["milk", "A milk"], marks={"weight": [1, 2]})
    made.document("A milk", "a", alone="milk")  # one document by its text and by its text with the title
    with pytest.raises(DataError, match=r"query 'q': positive 'A milk' has weights 1.*2"):
        made.finish()
    made = Assembly()
    made.query("q", ["milk"], marks={"weight": [1]})
    made.query("q", ["tea"])
    with pytest.raises(DataError, match="positive 'tea' has no weight, and others do"):
        made.finish()
