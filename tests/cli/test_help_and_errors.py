"""Help that teaches, exit codes, errors without tracebacks."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from embedkit import __version__
from embedkit.cli import app
from tests.cli.conftest import Done

Run = Callable[..., Done]


def commands() -> dict[tuple[str, ...], Any]:
    """Every verb, ``("recipes", "ls")`` for one of a group, with typer's command."""

    def below(command: Any, path: tuple[str, ...]) -> dict[tuple[str, ...], Any]:
        found = {path: command} if path else {}
        for name, verb in getattr(command, "commands", {}).items():
            found |= below(verb, (*path, name))
        return found

    return below(get_command(app), ())


@pytest.mark.parametrize("verb", commands(), ids=" ".join)
def test_every_verb_is_listed_and_helps(embedkit: Run, verb: tuple[str, ...]) -> None:
    assert re.search(rf"^  {verb[-1]} ", embedkit(*verb[:-1], "--help").out, re.M)
    done = embedkit(*verb, "--help")
    assert (done.code, done.err) == (0, "")
    assert re.search(r"^  -h, --help +Show this message and exit\.$", done.out, re.M)


@pytest.mark.parametrize("verb", commands(), ids=" ".join)
def test_every_argument_and_option_says_what_it_takes_and_means(verb: tuple[str, ...]) -> None:
    for parameter in commands()[verb].params:
        assert parameter.help, parameter.name
        assert parameter.metavar or getattr(parameter, "is_flag", False), parameter.name


def test_help_fits_the_terminal_and_leaves_examples_whole(embedkit: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for columns, widest in (("60", 60), ("80", 80), ("240", 100)):
        monkeypatch.setenv("COLUMNS", columns)
        lines = embedkit("train", "--help").out.splitlines()
        assert "    embedkit train sup/simcse data.sources.0.path=nli.tsv --out runs/nli --nproc 4" in lines
        assert max(len(line) for line in lines if not line.startswith("    embedkit ")) <= widest
        assert "  --nproc N " in "\n".join(lines)


def test_help_is_coloured_in_a_terminal_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    context = get_command(app).make_context("embedkit", [], resilient_parsing=True)
    heading, option = "\x1b[1mOptions\x1b[0m:", "\x1b[36m--version\x1b[0m"
    assert heading in context.get_help()
    assert option in context.get_help()
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in context.get_help()


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


def test_debug_shows_the_traceback_in_any_place(embedkit: Run, work: Path) -> None:
    for arguments in (["--debug", "check", "nowhere.yaml"], ["check", "nowhere.yaml", "--debug"]):
        done = embedkit(*arguments)
        assert done.code == 2 and done.err.startswith("Traceback (most recent call last):\n"), done.err
        assert "in find_recipe\n" in done.err and "RecipeError: nowhere.yaml: no such recipe" in done.err


def test_usage_errors_exit_2(embedkit: Run) -> None:
    assert embedkit("check", "r.yaml", "--nonsense").code == 2
    assert embedkit("train", "r.yaml").code == 2
    assert embedkit("nonsense").code == 2
    assert embedkit("check", "r.yaml", "--nproc", "0").code == 2


def test_an_unknown_recipe_gives_the_nearest(embedkit: Run) -> None:
    done = embedkit("check", "unsup/simsce")
    assert done.code == 2
    assert "did you mean 'unsup/simcse'?" in done.err
