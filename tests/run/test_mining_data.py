"""What is mined: from a BEIR folder, files, titles, and a recipe's sources."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from embedkit.errors import DataError, RecipeError
from embedkit.mining.assembly import ADDED
from embedkit.recipe.load import load_recipe
from embedkit.run.mining_data import TWO_GRADES, Data, Gathered, gather


def jsonl(path: Path, *rows: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def answers(found: Gathered) -> dict[str, list[str]]:
    p = found.problem
    pairs = zip(p.query_ids, p.positives, strict=True)
    return {name: [p.document_ids[row] for row in rows] for name, rows in pairs}


def beir(folder: Path) -> Path:
    corpus = [{"_id": f"d{i}", "title": "T" if i else "", "text": f"text {i}"} for i in range(4)]
    jsonl(folder / "corpus.jsonl", *corpus, {"_id": "empty", "title": "", "text": ""})
    jsonl(folder / "queries.jsonl", *({"_id": f"q{i}", "text": f"query {i}"} for i in range(4)))
    (folder / "qrels").mkdir()
    judged = [
        ("q0", "d0", 1),
        ("q0", "d2", 2),
        ("q1", "d1", 1),
        ("q1", "empty", 1),
        ("q2", "empty", 1),
        ("q3", "d1", 0),
    ]
    lines = ["query-id\tcorpus-id\tscore", *("\t".join(map(str, row)) for row in judged)]
    (folder / "qrels/train.tsv").write_text("\n".join(lines) + "\n")
    return folder


def test_a_beir_folder_with_several_positives_and_documents_without_text(tmp_path: Path) -> None:
    found = gather(Data(beir=beir(tmp_path / "b"), split="train"))
    assert answers(found) == {"q0": ["d0", "d2"], "q1": ["d1"]}
    assert found.problem.documents == ["text 0", "T text 1", "T text 2", "T text 3"]
    assert found.left_out == {"queries whose positives have no text": 1, "documents without text": 1}
    assert found.ordered == (False, False)
    with pytest.raises(DataError, match=r"no qrels/test.tsv"):
        gather(Data(beir=tmp_path / "b", split="test"))


def test_files_of_queries_and_documents(tmp_path: Path) -> None:
    queries = jsonl(
        tmp_path / "q.jsonl",
        {"id": "x", "query": "a", "positive": "text 1"},
        {"id": "x", "query": "a", "positive": "elsewhere"},
        {"id": "y", "query": "b", "positive": "T text 2"},
    )
    corpus = jsonl(tmp_path / "c.jsonl", *({"id": i, "title": "T", "text": f"text {i}"} for i in range(4)))
    found = gather(Data(queries=queries, corpus=corpus))
    assert answers(found) == {"x": ["1", "d4"], "y": ["2"]} and found.notes == {ADDED: 1}
    assert found.ordered == (False, False)
    again = jsonl(tmp_path / "p.jsonl", {"query": "a", "positive": "text 1"})
    assert gather(Data(queries=again, corpus=corpus)).ordered == (True, True)


def test_without_a_corpus_the_positives_are_searched(tmp_path: Path) -> None:
    file = jsonl(tmp_path / "q.jsonl", *({"query": f"q{i}", "positive": f"p{i}"} for i in range(3)))
    assert gather(Data(queries=file)).problem.documents == ["p0", "p1", "p2"]
    with pytest.raises(DataError, match="no column `positive`, and no corpus"):
        gather(Data(queries=jsonl(tmp_path / "b.jsonl", {"query": "q"})))


def test_queries_without_positives_are_unlabelled(tmp_path: Path) -> None:
    corpus = jsonl(tmp_path / "c.jsonl", {"text": "x"}, {"text": "y"})
    found = gather(Data(queries=jsonl(tmp_path / "q.jsonl", {"_id": 5, "text": "q"}), corpus=corpus))
    assert answers(found) == {"5": []} and found.problem.document_ids == ["d0", "d1"]


def test_titles_ask_for_their_own_texts(tmp_path: Path) -> None:
    """A title in front of its text would be found by its words alone."""
    rows = [{"_id": "a", "title": "T", "text": "x"}, {"_id": "b", "title": "", "text": "y"}]
    rows += [{"_id": "c", "title": "T", "text": "z"}, {"_id": "d", "title": "no text", "text": ""}]
    found = gather(Data(corpus=jsonl(tmp_path / "c.jsonl", *rows), queries_from="title"))
    assert found.problem.queries == ["T"] and found.problem.documents == ["x", "y", "z"]
    assert list(answers(found).values()) == [["a", "c"]]
    assert found.notes == {
        "documents without a title, which are no one's answer": 1,
        "titles without a text, left out": 1,
    }


RECIPE = """\
data:
  sources:
    - rows: [{query: q, positive: [p, p2], negative: [n, m]}, {query: r, positive: p}]
    - rows: [{query: s, positive: t, score: 0.1}]
    - rows: [{text: u}]
mining: {depth: 9, corpus: c.jsonl}
"""


def test_a_recipe_gives_its_pairs_and_all_their_texts(tmp_path: Path) -> None:
    jsonl(tmp_path / "c.jsonl", {"id": "d", "text": "other"}, {"id": "e", "text": "p"})
    (tmp_path / "r.yaml").write_text(RECIPE)
    found = gather(Data(), load_recipe(tmp_path / "r.yaml"))
    assert found.problem.documents == ["other", "p", "p2", "n", "m"]
    assert answers(found) == {"q0": ["e", "d2"], "q1": ["e"]}
    assert [line.partition(": ")[2] for line in found.remarks] == [
        "not mined (roles positive, query, score)",
        "not mined (roles text)",
    ]


@pytest.mark.parametrize("kept", [False, True])
def test_generated_rows_that_say_what_real_ones_say_do_not_ask(tmp_path: Path, kept: bool) -> None:
    """As in training; their negatives are no documents either."""
    (tmp_path / "r.yaml").write_text(f"""
data:
  sources:
    - rows: [{{query: q, positive: p}}]
    - generated: true
      rows: [{{query: q, positive: p, negative: n}}, {{query: r, positive: s}}, {{query: r, positive: s}}]
  generated_duplicates: {"keep" if kept else "null"}
mining: {{depth: 9}}
""")
    found = gather(Data(), load_recipe(tmp_path / "r.yaml"))
    assert found.problem.documents == (["p", "n", "s"] if kept else ["p", "s"])
    assert len(found.problem.queries) == 2
    assert [line.partition(": ")[2] for line in found.remarks] == (
        []
        if kept
        else [
            "1 generated row left out: equal to a real row",
            "1 generated row left out: equal to another generated row",
        ]
    )


def test_a_recipe_without_pairs_is_refused(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("data: {sources: [{rows: [{text: a}]}]}\n")
    with pytest.raises(DataError, match=r"no source has queries and positives; rows: not mined \(roles text\)"):
        gather(Data(), load_recipe(tmp_path / "r.yaml"))


@pytest.mark.parametrize(
    ("data", "recipe", "what"),
    [
        (Data(), False, "nothing gives queries"),
        (Data(corpus="c"), False, "nothing gives queries"),
        (Data(beir=Path("b"), queries="q"), False, "--beir and --queries both give queries"),
        (Data(queries="q"), True, "--queries and --recipe both give queries"),
        (Data(corpus="c"), True, "--recipe brings its own corpus: mining.corpus"),
        (Data(beir=Path("b"), corpus="c"), False, "--beir brings its own corpus"),
        (Data(queries_from="title"), False, "queries are made of a corpus"),
        (Data(queries_from="body", corpus="c"), False, "there is no 'body'"),
        (Data(queries_from="synth", corpus="c"), False, "there is no 'synth'"),
        (Data(queries_from="synth:", corpus="c"), False, "synth: nothing is given"),
        (Data(queries_from="synth:m,limits=3", corpus="c"), False, "synth has no setting 'limits'"),
        (Data(queries_from="synth:m,limit=0", corpus="c"), False, "limit: a whole number from 1"),
        (Data(queries_from="synth:m"), False, "queries are made of a corpus"),
    ],
)
def test_what_does_not_go_together_is_refused(data: Data, recipe: bool, what: str) -> None:
    with pytest.raises(RecipeError, match=what):
        data.check(recipe)


LISTS = """\
data:
  sources:
    - path: clicks.jsonl
      roles: {query: query, positive: docs, grade: ranks}
      grades: {function: reciprocal}
mining: {depth: 9, corpus: c.jsonl}
"""


def test_a_labelled_list_keeps_its_weights(tmp_path: Path) -> None:
    jsonl(tmp_path / "c.jsonl", *({"text": f"t{i}"} for i in range(6)))
    rows = [
        {"query": "q", "docs": ["t4", "t1", "t2"], "ranks": [1, 2, 4]},
        {"query": "r", "docs": ["t1"], "ranks": [2]},
    ]
    jsonl(tmp_path / "clicks.jsonl", *rows)
    (tmp_path / "r.yaml").write_text(LISTS)
    problem = gather(Data(), load_recipe(tmp_path / "r.yaml")).problem
    assert problem.positives == [(4, 1, 2), (1,)] and problem.marks == {"weight": [(1, 0.5, 0.25), (0.5,)]}
    (tmp_path / "p.jsonl").write_text('{"query": "s", "positive": "t5"}\n')
    (tmp_path / "r.yaml").write_text(LISTS.replace("mining:", "    - path: p.jsonl\nmining:"))
    with pytest.raises(DataError, match=r"clicks\.jsonl has weights and p\.jsonl has none") as caught:
        gather(Data(), load_recipe(tmp_path / "r.yaml"))
    assert caught.value.where == "data.sources" and "one after the other" in caught.value.cure
    jsonl(tmp_path / "clicks.jsonl", *rows, {"query": "r", "docs": ["t1"], "ranks": [1]})
    (tmp_path / "r.yaml").write_text(LISTS)
    with pytest.raises(DataError, match=r"clicks.jsonl:3: .*weight 1, and had 0\.5"):
        gather(Data(), load_recipe(tmp_path / "r.yaml"))


def test_weights_and_grades_of_a_file_of_queries(tmp_path: Path) -> None:
    corpus = jsonl(tmp_path / "c.jsonl", *({"text": f"t{i}"} for i in range(4)))
    rows = [{"query": "q", "positives": ["t3", "t0"], "grade": [3, 1], "weight": 2}]
    queries = jsonl(tmp_path / "q.jsonl", *rows, {"query": "r", "positives": ["t1"], "grade": 2, "weight": 1})
    problem = gather(Data(queries=queries, corpus=corpus)).problem
    assert problem.marks == {"weight": [(2, 2), (1,)], "grade": [(3, 1), (2,)]}
    jsonl(queries, *rows, {"query": "r", "positives": ["t1"], "grade": -1, "weight": 1})
    with pytest.raises(DataError, match=r"q.jsonl:2: negative grade -1 in 'grade'"):
        gather(Data(queries=queries, corpus=corpus))
    jsonl(queries, *rows, {"query": "r", "positives": ["t1"], "grade": 1, "weight": None})
    with pytest.raises(DataError, match=r"q.jsonl:2: .*'weight'"):
        gather(Data(queries=queries, corpus=corpus))


def test_grades_of_judgements_are_kept_where_they_tell_something(tmp_path: Path) -> None:
    folder = beir(tmp_path / "b")
    assert gather(Data(beir=folder)).problem.marks == {"grade": [(1, 2), (1,)]}
    queries = [{"_id": f"q{i}", "text": f"query {min(i, 3)}"} for i in range(5)]
    jsonl(folder / "queries.jsonl", *queries)
    (folder / "qrels/train.tsv").write_text("query-id\tcorpus-id\tscore\nq3\td1\t1\nq4\td1\t3\nq0\td0\t1\n")
    found = gather(Data(beir=folder))
    assert answers(found) == {"q0": ["d0"], "q3": ["d1"]} and found.problem.marks == {"grade": [(1,), (3,)]}
    assert found.notes[TWO_GRADES] == 1
    (folder / "qrels/train.tsv").write_text("query-id\tcorpus-id\tscore\nq3\td1\t1\nq0\td0\t1\n")
    assert gather(Data(beir=folder)).problem.marks == {}
