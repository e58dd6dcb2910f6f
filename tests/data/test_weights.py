"""Weights of rows and grades of documents: what a file may say, and what of it reaches the loss."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from embedkit.data.roles import BadRow, RowParser, resolve_roles
from embedkit.data.sources import load_source
from embedkit.data.views import expand
from embedkit.errors import DataError, RecipeError
from embedkit.recipe.grades import Grades
from embedkit.recipe.planning.facts import role_columns
from embedkit.recipe.schema import Source
from embedkit.types import Example

COLUMNS = ["query", "positive", "w", "g"]


def parse(row: dict[str, Any], *, textual: bool = False, function: str = "identity", **roles: str) -> Example:
    made = resolve_roles(COLUMNS, roles or {"weight": "w"}, "f")  # type: ignore[arg-type]
    grades = Grades.model_validate({"function": function})
    return RowParser(made, len, textual=textual, grades=grades)({"query": "q", "positive": "p", **row}, "f:1")


def test_a_column_called_weight_means_nothing_until_it_is_named() -> None:
    columns = ["query", "positive", "weight", "grade"]
    assert resolve_roles(columns, {}, "f").present == {"query", "positive"}
    assert role_columns(columns, {}).keys() == {"query", "positive"}
    named = {"weight": "weight", "grade": "grade"}
    assert resolve_roles(columns, named, "f").present == {"query", "positive", "weight", "grade"}  # type: ignore[arg-type]
    assert role_columns(columns, named).keys() == {"query", "positive", "weight", "grade"}  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value", "weights"),
    [(2, (2.0,)), (0, (0.0,)), (0.25, (0.25,)), ([3], (3.0,))],
)
def test_a_weight_is_a_number_from_zero(value: Any, weights: tuple[float, ...]) -> None:
    assert parse({"w": value}).weights == weights
    assert parse({}, query="query").weights == ()


def test_a_csv_writes_numbers_as_text() -> None:
    assert parse({"w": " 0.5 "}, textual=True).weights == (0.5,)
    with pytest.raises(BadRow, match="not a number in 'w'"):
        parse({"w": "heavy"}, textual=True)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (-1, "negative weight -1 in 'w'"),
        ([0.5, -0.5], "negative weight -0.5 in 'w'"),
        (float("nan"), "non-finite weight in 'w'"),
        (float("inf"), "non-finite weight in 'w'"),
        (10**400, "non-finite weight in 'w'"),
        ("2", "text where a number belongs in 'w'"),
        (None, "null where a number belongs in 'w'"),
        (True, "true or false where a number belongs in 'w'"),
        ([], "0 weights for 2 positives in 'w'"),
        ([1, 2, 3], "3 weights for 2 positives in 'w'"),
        ({"a": 1}, "an object where a number belongs in 'w'"),
    ],
)
def test_bad_weights(value: Any, reason: str) -> None:
    with pytest.raises(BadRow, match=f"^{reason}$"):
        parse({"w": value, "positive": ["p", "r"]})


def test_a_missing_weight_is_a_bad_row() -> None:
    with pytest.raises(BadRow, match="missing field 'w'"):
        parse({})


@pytest.mark.parametrize(
    ("function", "grades", "weights"),
    [
        ("identity", [3, 0.5], (3.0, 0.5)),
        ("log", [3, 0], (2.0, 0.0)),
        ("gain", [3, 0], (7.0, 0.0)),
        ("reciprocal", [1, 4], (1.0, 0.25)),
        ("discount", [1, 3], (1.0, 0.5)),
    ],
)
def test_grades_become_weights_one_per_positive(function: str, grades: Any, weights: tuple[float, ...]) -> None:
    row = {"positive": ["p", "r"], "g": grades, "w": 10}
    assert parse(row, function=function, grade="g").weights == pytest.approx(weights)
    both = parse(row, function=function, grade="g", weight="w").weights
    assert both == pytest.approx([10 * w for w in weights])
    each = parse({**row, "w": [1, 2]}, function=function, grade="g", weight="w").weights
    assert each == pytest.approx([weights[0], 2 * weights[1]])


@pytest.mark.parametrize(
    ("function", "grade", "reason"),
    [
        ("identity", -1, "negative grade -1 in 'g'"),
        ("log", -0.5, "negative grade -0.5 in 'g'"),
        ("gain", 5000, "grade 5000 is too large for gain in 'g'"),
        ("reciprocal", 0, "grade 0 is no rank from 1 in 'g'"),
        ("discount", -2, "grade -2 is no rank from 1 in 'g'"),
        ("identity", float("nan"), "non-finite grade in 'g'"),
        ("identity", "A", "text where a number belongs in 'g'"),
        ("identity", [1, 2], "2 grades for 1 positives in 'g'"),
    ],
)
def test_bad_grades(function: str, grade: Any, reason: str) -> None:
    with pytest.raises(BadRow, match=f"^{reason}$"):
        parse({"g": grade}, function=function, grade="g")


def test_one_grade_is_not_shared_by_several_positives() -> None:
    with pytest.raises(BadRow, match=r"^one grade for 2 positives in 'g'$"):
        parse({"g": 1, "positive": ["p", "r"]}, grade="g")


def test_grades_are_divided_first() -> None:
    assert Grades(function="gain", divide_by=50).weight(100) == pytest.approx(3.0)
    assert Grades(function="discount", divide_by=10).weight(30) == pytest.approx(1 / math.log2(4))
    with pytest.raises(ValidationError):
        Grades(divide_by=0)


def test_a_text_has_a_weight_and_no_grade() -> None:
    source = Source(rows=({"t": "a b", "w": 2},), roles={"text": "t", "weight": "w"})
    assert load_source(source).get([0])[0].weights == (2.0,)
    with pytest.raises(RecipeError, match="stands alone"):
        resolve_roles(["t", "g"], {"text": "t", "grade": "g"}, "f")


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_a_bad_weight_is_named_with_its_row_and_skipped_where_asked(tmp_path: Path, form: str) -> None:
    path = tmp_path / f"a.{form}"
    if form == "csv":
        path.write_text("query,positive,w\nq1,p1,1\nq2,p2,-3\nq3,p3,0.5\n")
    else:
        rows = [{"query": f"q{i}", "positive": f"p{i}", "w": w} for i, w in ((1, 1), (2, -3), (3, 0.5))]
        path.write_text("\n".join(map(json.dumps, rows)))
    options = {"path": str(path), "roles": {"weight": "w"}}
    with pytest.raises(DataError, match=rf"a\.{form}:{3 if form == 'csv' else 2}: negative weight -3 in 'w'"):
        load_source(Source.model_validate(options))
    kept = load_source(Source.model_validate({**options, "on_bad_row": "skip"}))
    assert [e.weights for e in kept.get([0, 1])] == [(1.0,), (0.5,)]
    assert kept.skipped == {"negative weight -3 in 'w'": 1}


def test_weights_are_part_of_the_content_and_their_absence_changes_nothing() -> None:
    rows = ({"query": "q", "positive": "p", "w": 1.0}, {"query": "r", "positive": "s", "w": 2.0})
    plain = load_source(Source(rows=rows))
    one = load_source(Source(rows=rows, roles={"weight": "w"}))
    two = load_source(Source(rows=(rows[0], {**rows[1], "w": 3.0}), roles={"weight": "w"}))
    assert plain.digest == one.digest != two.digest
    assert "weight" not in repr(one.get([0])[0])


def test_the_weights_of_a_hub_dataset_are_part_of_its_content(tmp_path: Path) -> None:
    digests = []
    for name, last in (("a", 2.0), ("b", 2.0), ("c", 3.0)):
        rows = [{"query": "q", "positive": "p", "w": 1.0}, {"query": "r", "positive": "s", "w": last}]
        (tmp_path / name).mkdir()
        (tmp_path / name / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))
        for roles in ({}, {"weight": "w"}):
            digests.append(load_source(Source(hub=str(tmp_path / name), roles=roles)).digest)  # type: ignore[arg-type]
    assert digests[0] == digests[2] == digests[4] != digests[1]  # without the role the column is not read
    assert digests[1] == digests[3] != digests[5]


def call(examples: list[Example], **changes: Any) -> Any:
    options = {"unlabelled": False, "views": 2, "per_query": 0, "one_positive": "sample", "seed": 0, "offset": 0}
    return expand(examples, **{**options, "step": 0, **changes})  # type: ignore[arg-type]


def test_the_weight_is_that_of_the_positive_that_was_drawn() -> None:
    example = Example("q", ("a", "b", "c"), weights=(1.0, 2.0, 4.0))
    drawn = [call([example], step=step) for step in range(40)]
    wanted = {"a": 1.0, "b": 2.0, "c": 4.0}
    assert {e.rows[1].text for e in drawn} == set(wanted)
    assert all(e.weight.tolist() == [wanted[e.rows[1].text]] for e in drawn)
    assert call([example], one_positive="first").weight.tolist() == [1.0]
    shared = call([Example("q", ("a", "b"), weights=(3.0,)), Example("r", ("s",), weights=(0.5,))])
    assert shared.weight.tolist() == [3.0, 0.5]
    assert call([Example("q", ("a",))]).weight is None


def test_the_draw_of_positives_is_what_it_was_without_weights() -> None:
    plain = [Example(f"q{i}", ("a", "b", "c"), ("n", "m")) for i in range(20)]
    weighted = [Example(e.query, e.positives, e.negatives, weights=(1.0, 2.0, 3.0)) for e in plain]
    assert call(plain, per_query=1).rows == call(weighted, per_query=1).rows


def test_texts_of_views_keep_their_weight() -> None:
    e = call([Example("a", weights=(2.0,)), Example("b", weights=(0.0,))], unlabelled=True, views=3)
    assert e.weight.tolist() == [2.0, 0.0]


def test_a_batch_does_not_mix_rows_with_and_without_weight() -> None:
    with pytest.raises(DataError, match=r"f:2: .*lacks a weight"):
        call([Example("q", ("p",), weights=(1.0,)), Example("r", ("s",), origin="f:2")])


def test_weights_reach_the_batch_and_its_loss(tmp_path: Path) -> None:
    """The loss of the step is the weighted mean of the rows' losses, computed here one by one."""
    from tests.tiny import sentences, tiny_bert
    from tests.train.runs import recipe, trainer

    texts, weights = sentences(16, seed=2), [0.0, 1.0, 2.0, 0.5, 3.0, 1.0, 0.25, 1.25]
    rows = [{"query": a, "positive": b, "w": w} for a, b, w in zip(texts[::2], texts[1::2], weights, strict=True)]
    base = recipe(tiny_bert(tmp_path / "base", dropout=0.0), accumulation=1).model_dump(mode="json")
    base["model"]["head"], base["objective"] = None, {"name": "infonce"}
    base["data"] = {"sources": [{"rows": rows, "roles": {"weight": "w"}}]}
    from embedkit.recipe.schema import Recipe

    run = trainer(Recipe.model_validate(base), tmp_path)
    batch = run.pipeline.batch(0, 0)
    by_query = {row["query"]: row["w"] for row in rows}
    order = [text for text, place in zip(batch.texts, batch.position, strict=True) if place % 2 == 0]
    assert batch.weight is not None and batch.weight.tolist() == [by_query[text] for text in order]
    run.trainee.eval()
    with torch.no_grad():
        queries = torch.from_numpy(run.encoder.encode(order, role="query"))
        documents = torch.from_numpy(run.encoder.encode([_partner(rows, q) for q in order], role="document"))
    q, d = (torch.nn.functional.normalize(x, dim=1) for x in (queries, documents))
    each = torch.nn.functional.cross_entropy(q @ d.T / 0.05, torch.arange(8), reduction="none")
    w = torch.tensor([by_query[text] for text in order])
    assert run.engine.loss(batch) == pytest.approx(float((each * w).sum() / w.sum()), rel=1e-5)
    assert run.engine.loss(batch) != pytest.approx(float(each.mean()), rel=1e-2)


def _partner(rows: list[dict[str, Any]], query: str) -> str:
    return next(row["positive"] for row in rows if row["query"] == query)


def test_weights_without_a_use_are_refused() -> None:
    from embedkit.recipe.plan import plan
    from embedkit.recipe.schema import Recipe

    def made(**changes: Any) -> Recipe:
        rows = [{"query": f"q {i}", "positive": f"p {i}", "score": 0.5, "w": 1.0} for i in range(4)]
        source = {"rows": rows, "roles": {"weight": "w"}, **changes.pop("source", {})}
        return Recipe.model_validate({"data": {"sources": [source]}, "train": {"batch_size": 2}, **changes})

    plan(made()).refuse()
    with pytest.raises(RecipeError, match="no row of it can be weighted"):
        plan(made(objective={"name": "cosent"})).refuse()
    with pytest.raises(RecipeError, match="no grades to make weights of"):
        plan(made(source={"grades": {"function": "log"}})).refuse()


def test_arrow_keeps_the_bits() -> None:
    value = float(np.nextafter(0.1, 1))
    source = Source(rows=({"query": "q", "positive": "p", "w": value},), roles={"weight": "w"})
    assert load_source(source).get([0])[0].weights == (value,)
