"""``embedkit objectives``: all are listed, and each is explained."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from embedkit.recipe import registry
from embedkit.recipe.reading.catalogue import papers, recipes_with, shown
from tests.cli.conftest import Done

Run = Callable[..., Done]


def test_ls_has_a_line_for_each(embedkit: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    lines = {line.split()[0]: line for line in embedkit("objectives", "ls").out.splitlines()}
    assert set(registry.names("objective")) <= set(lines)
    assert re.search(r"query, positive, score +none +batch +\d+ +Ranking", lines["cosent"])
    assert re.search(r"query, positive +in-batch +row +\d+ +Cross-entropy", lines["infonce"])
    assert "row, remembers" in lines["moco"] and "what it remembers" in lines["moco"]
    assert "wrapper" in lines["matryoshka"]
    assert re.search(r"query, positive +none +row, remembers +\d+ +Each view predicts", lines["swav"])


def test_show_gives_formula_paper_options_and_recipes(embedkit: Run) -> None:
    done = embedkit("objectives", "show", "mann_whitney")
    assert done.code == 0
    assert "\\n" not in done.out and "\n\nMetrics: auc, the share of pairs in the right order.\n" in done.out
    assert "softplus((s- - s_i+) / t)" in done.out and "https://arxiv.org/abs/2510.00137" in done.out
    assert "retrieval/mw" in done.out and re.search(r"golden +\d+ entries", done.out)
    assert re.search(r"^temperature +a number", done.out, re.MULTILINE)


@pytest.mark.parametrize("name", registry.names("objective"))
def test_each_is_explained(embedkit: Run, name: str) -> None:
    done = embedkit("objectives", "show", name)
    assert done.code == 0 and f"{name}: {shown(name).line}"[:60] in done.out


def test_a_name_that_is_none_gets_the_nearest_one(embedkit: Run) -> None:
    done = embedkit("objectives", "show", "infonse")
    assert done.code == 2 and "did you mean 'infonce'" in done.err


def test_recipes_are_found_inside_wrappers_stages_and_sources() -> None:
    assert "retrieval/matryoshka" in recipes_with("infonce")
    assert "retrieval/conan" in recipes_with("cosent")
    assert recipes_with("angle") == []


def test_papers_are_named_once() -> None:
    assert papers("arXiv 2510.00137, and arXiv:2009.12345", "arXiv 2510.00137") == [
        "https://arxiv.org/abs/2510.00137",
        "https://arxiv.org/abs/2009.12345",
    ]
