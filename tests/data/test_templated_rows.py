"""Templates assigned to rows once, before training."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from embedkit.data.sources import load_source
from embedkit.data.templates import assigned, templated_source
from embedkit.errors import DataError
from embedkit.recipe.schema import Source
from embedkit.recipe.templates import Templates

TEXTS = ("first {text}", "{text} second", "third {text}!")


def source(rows: int = 40, **options: object) -> Source:
    made = [{"query": f"q{i}", "positive": f"p{i}"} for i in range(rows)]
    return Source.model_validate({"rows": made, **options})


@given(templates=st.integers(1, 40), rows=st.integers(0, 30), hold=st.integers(1, 7), seed=st.integers(0, 99))
def test_templates_are_held_and_come_from_the_subset(templates: int, rows: int, hold: int, seed: int) -> None:
    some, of_row = assigned(templates, rows, divisor=1 + seed % templates, hold=hold, seed=seed)
    assert len(set(some)) == len(some) == templates // (1 + seed % templates)
    assert set(of_row) <= set(some) and len(of_row) == rows
    assert all(of_row[i] == of_row[i - i % hold] for i in range(rows))
    draw = random.Random(seed)
    assert some == draw.sample(range(templates), len(some))
    assert of_row[::hold] == [draw.choice(some) for _ in range(0, rows, hold)]


def test_queries_stand_in_their_templates_and_the_rest_stays() -> None:
    loaded = load_source(source())
    made = templated_source(loaded, Templates(texts=TEXTS, seed=3))
    _, of_row = assigned(3, 40, seed=3)
    for i, example in enumerate(made.get(range(40))):
        assert example.query == TEXTS[of_row[i]].replace("{text}", f"q{i}") and example.positives == (f"p{i}",)
    assert made.get([7, 3])[0].query == made.get([7])[0].query and set(of_row) == {0, 1, 2}
    assert made.rows == 40 and made.made["templates"] == {
        "given": 3,
        "drawn from": [TEXTS[i] for i in assigned(3, 0, seed=3)[0]],
    }


def test_a_divisor_keeps_some_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "prompts.txt"
    file.write_text("".join(f"t{i} {{text}}\n" for i in range(24)), encoding="utf-8")
    made = templated_source(load_source(source()), Templates(file=str(file), divisor=12))
    assert len({example.query.split()[0] for example in made.get(range(40))}) == 2
    with pytest.raises(DataError, match="24 templates and divisor 25"):
        templated_source(load_source(source()), Templates(file=str(file), divisor=25))


def test_a_stream_and_a_template_with_a_label_are_refused(tmp_path: Path) -> None:
    rows, file = tmp_path / "rows.jsonl", tmp_path / "prompts.txt"
    rows.write_text('{"query": "q", "positive": "p"}\n' * 9, encoding="utf-8")
    file.write_text("{text} {label}\n{text}\n", encoding="utf-8")
    stream = load_source(Source.model_validate({"path": str(rows), "streaming": True}))
    with pytest.raises(DataError, match="a stream has none"):
        templated_source(stream, Templates(texts=TEXTS))
    with pytest.raises(DataError, match=r"prompts.txt:1.*has a place for a label"):
        templated_source(load_source(source()), Templates(file=str(file)))


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({}, "exactly one of texts, file"),
        ({"texts": ["a {text}"]}, "nothing to draw"),
        ({"texts": TEXTS, "divisor": 4}, "leaves none of 3 templates"),
        ({"texts": ["{text} {label}", "{text}"]}, "nothing is put there"),
    ],
)
def test_options_that_draw_nothing(options: dict[str, object], part: str) -> None:
    with pytest.raises(ValidationError, match=part):
        Templates.model_validate(options)
