"""What README and docs show is true: commands parse, overrides and recipes are valid, targets and files exist."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from embedkit.cli import app
from embedkit.recipe.load import find_recipe, list_recipes, load_any, load_suite_file

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
TARGETS = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def commands(page: Path, program: str) -> Iterator[list[str]]:
    """Every command line of `program` on a page: in shell blocks, indented, and in the running text."""
    text = page.read_text(encoding="utf-8")
    lines = [line for block in blocks(page, "bash") for line in block.splitlines()]
    lines += re.findall(rf"^    ({program} .*)$", text, re.MULTILINE)
    lines += re.findall(rf"`({program} [^`]+)`", text)
    for line in lines:
        words = shlex.split(line.replace("[", " ").replace("]", " ") if "=[" not in line else line, comments=True)
        if words[:1] == [program] and len(words) > 1:
            yield words[1:]


def parse(words: list[str]) -> dict[str, Any]:
    """The values of a command's parameters, as its own parser reads them; nothing runs."""
    command: Any = typer.main.get_command(app)
    while hasattr(command, "commands"):
        command, words = command.commands[words[0]], words[1:]
    if not words or "--help" in words:  # a verb that the text only mentions
        return {}
    parsed: dict[str, Any] = command.make_context("embedkit", words).params
    return parsed


def recipes_of(page: Path) -> dict[str, str]:
    """YAML blocks that name their file in a comment on the first line."""
    return {m[1]: block for block in blocks(page, "yaml") if (m := re.match(r"# (\S+\.yaml)\n", block))}


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_commands(page: Path, tmp_path: Path) -> None:
    own = recipes_of(page)
    for name, text in own.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    shipped = {str(find_recipe(path)) for path in list_recipes()}
    for words in commands(page, "embedkit"):
        values = parse(words)
        name = values.get("recipe")
        if name in own:
            load_any(tmp_path / name, values["overrides"] or [])
        elif name is not None and name[0].islower():  # RECIPE stands for any
            assert str(find_recipe(name)) in shipped
            load_any(name, values.get("overrides") or [])


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_targets(page: Path) -> None:
    for words in commands(page, "make"):
        assert words[0] in TARGETS, f"make {words[0]}"


def test_the_two_commands_are_on_the_front_page() -> None:
    shown = [words[0] for words in commands(ROOT / "README.md", "make")]
    assert {"train", "test"} <= set(shown)
    assert {"train", "test"} <= TARGETS


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_yaml_blocks(page: Path, tmp_path: Path) -> None:
    """A block is a recipe, a suite, or some blocks of a recipe, which are completed with a source; one that names its
    file can be extended by others."""
    for name, text in recipes_of(page).items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    for i, block in enumerate(blocks(page, "yaml")):
        file = tmp_path / f"{i}.yaml"
        file.write_text(block, encoding="utf-8")
        if re.search(r"^tasks:", block, re.MULTILINE):
            load_suite_file(file)
            continue
        if not re.search(r"^data:", block, re.MULTILINE):
            file.write_text(f"{block}\ndata: {{sources: [{{rows: [{{text: a}}]}}]}}\n", encoding="utf-8")
        load_any(file)


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_python_blocks_compile(page: Path) -> None:
    for block in blocks(page, "python"):
        compile(block, page.name, "exec")


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


def test_what_tools_are_told_is_true() -> None:
    """llms.txt names every verb, its commands parse, its pages exist."""
    text = (ROOT / "docs" / "llms.txt").read_text(encoding="utf-8")
    lines = re.findall(r"`(embedkit [^`]+)`", text)
    command: Any = typer.main.get_command(app)
    assert {line.split()[1] for line in lines} == set(command.commands)
    for line in lines:
        words = shlex.split(line)[1:]
        if len(words) > 1 and words[0] != "synth":  # its tasks have options of their own
            parse(words)
    for page in re.findall(r"\]\(([^)]+)\)", text):
        assert (ROOT / "docs" / page).is_file(), page
