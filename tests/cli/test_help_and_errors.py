"""Help that teaches, exit codes, errors without tracebacks."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from embedkit import __version__
from embedkit.cli import main
from embedkit.errors import RecipeError
from tests.cli.conftest import Done

Run = Callable[..., Done]


@pytest.mark.parametrize("verb", ["check", "train", "eval", "env", "recipes"])
def test_every_verb_is_listed_and_helps(embedkit: Run, verb: str) -> None:
    assert re.search(rf"^│ {verb} ", embedkit("--help").out, re.M)
    assert embedkit(verb, "--help").code == 0


@pytest.mark.parametrize("verb", [("check",), ("train",), ("eval",), ("recipes", "show"), ("recipes", "cp")])
def test_help_shows_commands_to_copy(embedkit: Run, verb: tuple[str, ...]) -> None:
    assert f"embedkit {' '.join(verb)} " in embedkit(*verb, "--help").out.split("Usage:")[1].split("\n", 1)[1]


def test_version(embedkit: Run) -> None:
    assert embedkit("--version").out == f"embedkit {__version__}\n"


def test_a_wrong_recipe_exits_2_with_its_line_on_stderr(embedkit: Run, work: Path) -> None:
    Path("bad.yaml").write_text("data: {sources: [{path: text.txt}]}\ntrain: {sede: 1}\n")
    for verb in (
        ("check", "bad.yaml"),
        ("train", "bad.yaml", "--out", "run"),
        ("recipes", "show", "bad.yaml", "--full"),
    ):
        done = embedkit(*verb)
        assert (done.code, done.out) == (2, "")
        assert done.err.startswith("bad.yaml:2: train.sede: unknown key\n  cure: did you mean `seed`?")
        assert "Traceback" not in done.err
    assert not Path("run").exists()


def test_long_errors_are_not_folded(embedkit: Run, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    done = embedkit("check", "r.yaml", "train.batch_sise=8")
    assert "override train.batch_sise=8: train.batch_sise: unknown key\n" in done.err


def test_debug_shows_the_traceback_in_any_place(work: Path) -> None:
    for arguments in (["--debug", "check", "nowhere.yaml"], ["check", "nowhere.yaml", "--debug"]):
        with pytest.raises(RecipeError, match="no such recipe"):
            main(arguments)


def test_usage_errors_exit_2(embedkit: Run) -> None:
    assert embedkit("check", "r.yaml", "--nonsense").code == 2
    assert embedkit("train", "r.yaml").code == 2
    assert embedkit("nonsense").code == 2
    assert embedkit("check", "r.yaml", "--nproc", "0").code == 2


def test_an_unknown_recipe_gives_the_nearest(embedkit: Run) -> None:
    done = embedkit("check", "unsup/simsce")
    assert done.code == 2
    assert "did you mean 'unsup/simcse'?" in done.err
