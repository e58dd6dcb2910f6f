"""Generated rows that equal a real one, or each other, are left out and counted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embedkit.data.generated import row_id, without_duplicates
from embedkit.data.sources import LoadedSource, load_source
from embedkit.disk.folders import RunFolder
from embedkit.errors import DataError
from embedkit.recipe.load import dump, load_recipe, recipe_hash
from embedkit.recipe.schema import Recipe, Source
from embedkit.run.data import load_sources
from embedkit.types import Example

REAL = ["the cat sat", "a dog ran", "caf\u00e9 au lait"]
MADE = ["The cat sat", " the  cat\tsat ", "a bird flew", "a bird flew", "cafe\u0301 au lait", "a fish swam"]
FIRST = [0, 2, 5]
"""The places of `MADE` that stay: case is a difference; white space and the Unicode form are none."""


def texts(found: list[str], **row: Any) -> LoadedSource:
    return load_source(Source(rows=tuple({"text": text, **row} for text in found)))


def queries(source: LoadedSource) -> list[str]:
    assert source.rows is not None
    return [example.query for example in source.get(range(source.rows))]


def test_what_is_said_already_is_left_out() -> None:
    real, made = without_duplicates([texts(REAL), texts(MADE)], [False, True])
    assert queries(real) == REAL and real.made == {} and not real.remarks
    assert queries(made) == [MADE[i] for i in FIRST]
    assert made.get([2, 0])[0].origin == "rows[5]"
    assert made.made["generated"] == {"rows": 3, "equal_to_real": 2, "equal_to_generated": 1}
    assert made.remarks == [
        "2 generated rows left out: equal to a real row",
        "1 generated row left out: equal to another generated row",
    ]


def test_of_several_generated_sources_the_first_keeps_the_row() -> None:
    """Wherever the real rows stand among the sources; what a real row says twice is not touched."""
    one, real, other = without_duplicates(
        [texts(["x", "a dog ran"]), texts([*REAL, *REAL]), texts(["y", "x", "x"])], [True, False, True]
    )
    assert queries(one) == ["x"] and queries(other) == ["y"] and real.rows == 6
    assert one.made["generated"]["equal_to_real"] == 1 and other.made["generated"]["equal_to_generated"] == 2


def test_a_row_is_its_query_with_its_positives() -> None:
    """A generated query of a real document is no duplicate of the document, nor is another positive of a query."""
    same = [Example("q", ("a", "b"), ("n",), (), 1), Example("q ", ("b", "a"), (), (), 2)]
    assert len({row_id(e) for e in same}) == 1
    others = [Example("q", ("a",)), Example("q"), Example("a"), Example("a", ("q",))]
    assert len({row_id(e) for e in (same[0], *others)}) == 5
    pairs = [{"query": "q", "positive": p, "negative": n} for p, n in (("a", "x"), ("b", "x"), ("a", "y"))]
    loaded = load_source(Source(rows=tuple(pairs)))
    real, made = without_duplicates([texts(["q", "a"]), loaded], [False, True])
    assert [e.positives for e in made.get(range(2))] == [("a",), ("b",)] and made.rows == real.rows == 2


def test_clusters_and_untouched_sources_stay_as_they_are() -> None:
    rows = tuple({"text": t, "c": f"c{i}"} for i, t in enumerate(MADE))
    loaded = load_source(Source(rows=rows, roles={"text": "text", "cluster": "c"}))
    made = without_duplicates([texts(REAL), loaded], [False, True])[1]
    assert made.clusters is not None and loaded.clusters is not None
    assert np.array_equal(made.clusters, loaded.clusters[FIRST])
    alone = texts(["a bird flew"])
    kept = without_duplicates([texts(REAL), alone], [False, True])[1]
    assert kept.store is alone.store and kept.made["generated"]["rows"] == 1 and not kept.remarks


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no generated row is left: 3 equal a real row, 0 another generated one"):
        without_duplicates([texts(REAL), texts(REAL)], [False, True])
    (tmp_path / "a.txt").write_text("a\nb\n")
    stream = load_source(Source(path=str(tmp_path / "a.txt"), streaming=True))
    with pytest.raises(DataError, match=r"a stream never has them all.*\n.*data.generated_duplicates: keep"):
        without_duplicates([stream, texts(REAL)], [False, True])


def recipe(**data: Any) -> Recipe:
    rows = [[{"text": text} for text in found] for found in (REAL, MADE)]
    sources = [{"rows": rows[0], "weight": 1.0}, {"rows": rows[1], "weight": 1.0, "generated": True}]
    return Recipe.model_validate({"data": {"sources": sources, **data}, "train": {"batch_size": 2, "steps": 1}})


@pytest.mark.parametrize(
    ("data", "rows"), [({}, 3), ({"generated_duplicates": "drop"}, 3), ({"generated_duplicates": "keep"}, 6)]
)
def test_a_recipe_has_a_switch(tmp_path: Path, data: dict[str, Any], rows: int) -> None:
    real, made = load_sources(recipe(**data), RunFolder(tmp_path / "run"), say=lambda line: None)
    assert (real.rows, made.rows) == (3, rows) and ("generated" in made.made) == (rows == 3)


def test_recipes_that_do_not_speak_of_it_keep_their_hash(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("data: {sources: [{rows: [{text: a}]}]}\n")
    plain = load_recipe(tmp_path / "r.yaml")
    assert "generated" not in dump(plain) and "strength" not in dump(plain)
    assert recipe_hash(recipe()) != recipe_hash(recipe(generated_duplicates="keep"))
