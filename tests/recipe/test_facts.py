"""What the plan sees of a source is what loading it will find."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedkit.data.roles import resolve_roles
from embedkit.data.sources import load_source
from embedkit.errors import DataError, EmbedkitError
from embedkit.inputs.cures import Cures
from embedkit.inputs.records import columns_of, format_of, read
from embedkit.recipe.plan import plan
from embedkit.recipe.planning.facts import ROLES, count_rows, role_columns, source_facts
from embedkit.recipe.reading.settle import settle
from embedkit.recipe.schema import Recipe

COLUMNS = [*ROLES, "positives", "negatives", "scores", "a", "b", "c"]


@settings(max_examples=300)
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
        assert facts.columns == set(columns_of(path, format_of(path)))
        assert facts.roles == loaded.roles
        assert facts.rows == loaded.rows == sum(1 for _ in read(path, format_of(path)))
        assert facts.negatives == loaded.max_negatives


HOSTILE = {
    "open.csv": b'query,positive,negative\n"a 5 inch,b,\n' + b"q,p,n\n" * 9,
    "verse.csv": b'query,positive,negative\n"two\nlines",b,\n\nq,p,\n\n\n',
    "none.csv": b"query,positive,negative\nq,p,\nq,p, \n",
    "none.jsonl": b'{"query": "q", "positive": "p", "negatives": [null, "", "n"]}\n{"query": "q", "positive": "p"}\n',
    "mark.tsv": b"\xef\xbb\xbfquery\tpositive\nq\tp\n\n",
    "utf_16.csv": "query,positive\nq,p\n".encode("utf-16"),
    "blank.txt": b"a\n\nb\n \n\n",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_hard_to_read_is_read_alike(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(HOSTILE[name])
    options = {"on_bad_row": "skip", "encoding": "utf-16" if "16" in name else "UTF_8"}
    recipe = settle(Recipe(data={"sources": [{"path": name, **options}]}), tmp_path)
    (facts,) = source_facts(recipe)
    loaded = load_source(recipe.data.sources[0])
    assert facts.roles == loaded.roles
    assert facts.rows == loaded.rows + sum(loaded.skipped.values())
    assert facts.negatives == loaded.max_negatives
    assert facts.unreadable is None


UNREADABLE = {
    "a.csv": (b"caf\xe9,b\n1,2\n", "the header has a broken encoding"),
    "b.jsonl.gz": (b"\x1f\x8b broken", "the gzip stream is broken"),
    "c.txt": ("one\ntwo\n".encode("utf-16"), "starts with the byte order mark of utf-16"),
    "d.csv": (b"a,b\rc,d\r", "carriage returns alone"),
    "e.parquet": (b"PAR1", "not a readable Parquet file"),
    "f.csv": (b"query,query\n", "names 'query' twice"),
    "g.data": (b"x", "does not say the format"),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_cannot_be_read_ends_the_check_as_it_would_end_the_run(tmp_path: Path, name: str) -> None:
    content, message = UNREADABLE[name]
    (tmp_path / name).write_bytes(content)
    recipe = settle(Recipe(data={"sources": [{"path": name}]}, train={"batch_size": 2}), tmp_path)
    with pytest.raises(DataError, match=message) as checked:
        plan(recipe).refuse()
    with pytest.raises(DataError, match=message) as loaded:
        load_source(recipe.data.sources[0], cures=Cures.of_source(0))
    assert (checked.value.what, checked.value.cure) == (loaded.value.what, loaded.value.cure)


def test_streams_that_do_not_fill_a_batch_are_known(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a\nb\nc\n")
    for batch, limit, ended in ((4, None, 3), (3, None, None), (2, None, None), (3, 2, 2), (2, 2, None)):
        source = {"path": "a.txt", "streaming": True, "limit": limit}
        recipe = settle(Recipe(data={"sources": [source]}, train={"batch_size": batch, "steps": 1}), tmp_path)
        (facts,) = source_facts(recipe)
        assert facts.ended == ended


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
