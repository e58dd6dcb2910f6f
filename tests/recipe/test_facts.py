"""What the plan sees of a source is what loading it will find."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedkit.data.readers import columns_of, format_of, read
from embedkit.data.roles import resolve_roles
from embedkit.data.sources import load_source
from embedkit.errors import EmbedkitError
from embedkit.recipe.planning.facts import ROLES, count_rows, file_format, role_columns, source_facts
from embedkit.recipe.reading.settle import settle
from embedkit.recipe.schema import Recipe

COLUMNS = [*ROLES, "positives", "negatives", "scores", "a", "b", "c"]


@settings(max_examples=300, deadline=None)
@given(
    columns=st.lists(st.sampled_from(COLUMNS), min_size=1, unique=True),
    explicit=st.dictionaries(st.sampled_from(ROLES), st.sampled_from(["a", "b", "query", "text"]), max_size=3),
)
def test_roles_are_those_of_the_loader(columns: list[str], explicit: dict[str, str]) -> None:
    try:
        expected = resolve_roles(columns, explicit, "x")  # type: ignore[arg-type]
    except EmbedkitError:
        return
    assert role_columns(columns, explicit) == expected.columns  # type: ignore[arg-type]


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    rows = [{"query": f"q{i}", "positive": "p", "negatives": ["n"] * (i % 4)} for i in range(30)]
    lines = "\n".join(json.dumps(row) for row in rows)
    (tmp_path / "a.jsonl").write_text(lines)
    (tmp_path / "b.ndjson").write_text(lines + "\n")
    with gzip.open(tmp_path / "c.jsonl.gz", "wt") as file:
        file.write(lines + "\n")
    (tmp_path / "d.csv").write_text("\ufeffquery,positive\n" + '"a, b",c\n' * 12)
    (tmp_path / "e.tsv").write_text("query\tpositive\n" + 'a "quoted\tc\n' * 9)
    (tmp_path / "f.txt").write_text("one\ntwo\nthree")
    return sorted(tmp_path.iterdir())


def test_columns_and_rows_are_those_of_the_loader(files: list[Path]) -> None:
    for path in files:
        recipe = Recipe(data={"sources": [{"path": path.name}]})
        (facts,) = source_facts(settle(recipe, path.parent))
        loaded = load_source(settle(recipe.data.sources[0], path.parent))
        assert file_format(path) == format_of(path)
        assert facts.columns == set(columns_of(path, format_of(path)))
        assert facts.roles == loaded.roles
        assert facts.rows == loaded.rows == sum(1 for _ in read(path, format_of(path)))
        assert facts.negatives == loaded.max_negatives


def test_a_broken_file_is_left_to_the_loader(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("not json\n")
    (tmp_path / "b.csv").write_bytes(b"caf\xe9,b\n1,2\n")
    (tmp_path / "c.jsonl.gz").write_bytes(b"\x1f\x8b broken")
    for name in ("a.jsonl", "b.csv"):
        (facts,) = source_facts(settle(Recipe(data={"sources": [{"path": name}]}), tmp_path))
        assert (facts.columns, facts.roles, facts.missing) == (None, None, False)
    (facts,) = source_facts(settle(Recipe(data={"sources": [{"path": "c.jsonl.gz"}]}), tmp_path))
    assert (facts.columns, facts.rows) == (None, None)


def test_a_bad_row_hides_no_column(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(
        'broken\n{"query": "q", "positive": "p"}\n{"query": "q", "negative": ["n", "m"]}\n'
    )
    (facts,) = source_facts(settle(Recipe(data={"sources": [{"path": "a.jsonl"}]}), tmp_path))
    assert facts.roles == {"query", "positive", "negative"}
    assert (facts.rows, facts.negatives) == (3, 2)


def test_declared_text_is_unlabelled_wherever_it_is() -> None:
    (facts,) = source_facts(Recipe(data={"sources": [{"hub": "owner/name", "roles": {"text": "sentence"}}]}))
    assert facts.unlabelled
    assert facts.gives("score") is False


def test_large_files_are_not_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.txt"
    path.write_text("x\n" * 10)
    assert count_rows(path, "txt") == 10
    monkeypatch.setattr("embedkit.recipe.planning.facts.COUNT_LIMIT", 5)
    assert count_rows(path, "txt") is None
