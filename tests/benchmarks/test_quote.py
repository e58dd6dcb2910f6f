"""What pages and recipes say about the comparison is what docs/results holds."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from benchmarks.compare import quote, table
from benchmarks.compare.table import Method
from benchmarks.objectives import quote as objectives
from benchmarks.objectives import table as comparison

SIMCSE = Method("simcse", "SimCSE", recipe="unsup/simcse")
OTHER = Method("other", "Other", recipe="unsup/other")
HEAD = "# A method.\n#\n# Paper    somebody\n# Result   not measured yet\n#          at all\nmodel: {}\n"
PAGE = "# Other\n\n<!-- measured: other -->\nNot yet.\n<!-- end -->\n\nGolden values: none.\n"


def row(average: float, recipe: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "average": average,
        "sd": None,
        "seeds": [],
        "difference": None,
        "gain": None,
        "time": None,
        "recipe": recipe,
        **more,
    }


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    trained = {"model": {"pooling": "cls"}}
    difference = {"value": -1.234, "pairs": [-2.0, -0.5], "seeds": None, "verdict": "unclear"}
    found = {
        "base": row(46.891, {"kind": "base", "pooling": "mean"}),
        "base-cls": row(47.004, {"kind": "base", "pooling": "cls"}),
        "simcse": row(43.5, trained, sd=0.25, seeds=[1, 2], time={"method": 0.4, "ratio": 1.0}),
        "other": row(
            42.266,
            trained,
            seeds=[1],
            difference=difference,
            gain={"value": -4.738, "verdict": "worse"},
            time={"method": 0.8, "ratio": 2.04},
        ),
    }
    facts = {"base": {"parameters": 7_400_000}, "steps": 100, "batch": 64}
    for name in ("docs/results", "docs/methods", "recipes/unsup"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "docs/results/small.json").write_text(json.dumps({"comparison": facts, "methods": found}))
    (tmp_path / "docs/methods/other.md").write_text(PAGE)
    (tmp_path / "README.md").write_text("# R\n<!-- measured: all -->\nnothing\n<!-- end -->\n")
    for name in ("simcse", "other"):
        (tmp_path / f"recipes/unsup/{name}.yaml").write_text(HEAD)
    return tmp_path


def quoted(root: Path) -> dict[Path, str]:
    return quote.quotations(root, {"simcse": SIMCSE, "other": OTHER})


def test_a_page_gets_a_row_per_base_and_keeps_its_own_text(repository: Path) -> None:
    text = quoted(repository)[repository / "docs/methods/other.md"]
    assert "| [small](../results/small.md), 7.4 M parameters | 100 of 64 | 47.00 | 42.27 | -4.74 | -1.23 |" in text
    assert "| -2.00 .. -0.50 |  | x 2.04 |" in text
    assert "Not yet" not in text
    assert text.startswith("# Other\n\n<!-- measured: other -->\n| base |")
    assert text.endswith("<!-- end -->\n\nGolden values: none.\n")


def test_a_recipe_gets_its_result_and_keeps_the_rest(repository: Path) -> None:
    text = quoted(repository)[repository / "recipes/unsup/other.yaml"]
    assert text.startswith("# A method.\n#\n# Paper    somebody\n# Result   mean of STS12-16, STS-B, SICK-R")
    assert text.endswith("\nmodel: {}\n")
    said = " ".join(line.lstrip("# ") for line in text.splitlines())
    assert "small (7.4 M parameters), 100 updates of 64, seeds 1: 47.00 -> 42.27 (SimCSE 43.50 ± 0.25)." in said
    assert "not measured" not in text
    assert "at all" not in text
    assert max(map(len, text.splitlines())) <= quote.WIDTH


def test_quoting_twice_changes_nothing(repository: Path) -> None:
    first = quoted(repository)
    for path, text in first.items():
        path.write_text(text)
    assert quoted(repository) == first


def test_a_method_without_results_keeps_what_it_has(repository: Path) -> None:
    (repository / "docs/results/small.json").unlink()
    found = quoted(repository)
    assert sorted(path.name for path in found) == ["README.md", "other.md"]
    assert all(path.read_text() == text for path, text in found.items())


def test_the_readme_has_a_row_per_method_that_has_results(repository: Path) -> None:
    text = quoted(repository)[repository / "README.md"]
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert rows == [
        "| method | [small](docs/results/small.md), 100 updates | time |",
        "| --- | ---: | ---: |",
        "| SimCSE | 43.50 ± 0.25 | 400 ms |",
        "| Other | 42.27 ▼ | x 2.04 |",
    ]


def test_what_the_code_has_left_behind_is_quoted_in_its_pages_alone(repository: Path) -> None:
    stored = repository / "docs/results/small.json"
    found = json.loads(stored.read_text())
    found["comparison"]["earlier"] = "the step was rewritten"
    (stored.parent / "old.json").write_text(json.dumps(found))
    assert "[old]" not in quoted(repository)[repository / "README.md"]
    assert "[old](../results/old.md)" in quoted(repository)[repository / "docs/methods/other.md"]


def test_the_shipped_pages_and_recipes_quote_the_stored_results() -> None:
    stale = [
        str(path.relative_to(quote.ROOT))
        for path, text in quote.quotations(quote.ROOT, table.read(table.DEFAULT)).items()
        if path.read_text(encoding="utf-8") != text
    ]
    assert not stale, "run `python -m benchmarks.compare.quote`"


def test_the_shipped_pages_quote_the_comparison_of_objectives() -> None:
    stale = [
        str(path.relative_to(quote.ROOT))
        for path, text in objectives.quotations(quote.ROOT).items()
        if path.read_text(encoding="utf-8") != text
    ]
    assert not stale, "run `python -m benchmarks.objectives.quote`"


def test_a_page_quotes_an_objective_on_every_kind_of_data_that_it_was_measured_on(tmp_path: Path) -> None:
    rows = {
        "untrained": {"average": 40.0, "sd": None, "difference": None},
        "infonce": {"average": 45.5, "sd": 0.5, "difference": None},
        "dcl": {
            "average": 47.0,
            "sd": 1.0,
            "difference": {"value": 1.5, "verdict": "better", "pairs": [1.0, 2.0], "seeds": [0.5, 2.5], "holm": True},
        },
        "failed": {"failed": ["not finite"]},
    }
    made = {"steps": 10, "batch": 32}
    kinds = {"k": {"title": "Kind", "share": 0.5, "rows": rows, "made": made}}
    (tmp_path / "docs/objectives").mkdir(parents=True)
    (tmp_path / "docs/methods").mkdir()
    (tmp_path / "docs/objectives/small.json").write_text(json.dumps({"kinds": kinds}))
    page = tmp_path / "docs/methods/page.md"
    page.write_text(
        "A\n<!-- compared: dcl, infonce -->\nold\n<!-- end -->\n"
        "B\n<!-- compared: failed, other -->\nkept\n<!-- end -->\n"
    )
    assert objectives.quotations(tmp_path)[page].splitlines() == [
        "A",
        "<!-- compared: dcl, infonce -->",
        "| objective | base | trained on | updates | untrained | trained | to InfoNCE | pairs | seeds |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
        "| `dcl` | [small](../objectives/small.md) | Kind | 10 of 16 | 40.00 | 47.00 ± 1.00 | +1.50 ▲ | "
        "+1.00 .. +2.00 | +0.50 .. +2.50 |",
        "| `infonce` | [small](../objectives/small.md) | Kind | 10 of 16 | 40.00 | 45.50 ± 0.50 |  |  |  |",
        "",
        objectives.READING,
        "<!-- end -->",
        "B",
        "<!-- compared: failed, other -->",
        "kept",
        "<!-- end -->",
    ]


def test_every_objective_that_a_page_quotes_has_a_row() -> None:
    known = {row.name for part in comparison.read().values() for row in part.rows}
    for path in sorted((quote.ROOT / "docs/methods").glob("*.md")):
        for names in re.findall(r"<!-- compared: (.*) -->", path.read_text(encoding="utf-8")):
            assert not set(names.replace(",", " ").split()) - known, path.name
