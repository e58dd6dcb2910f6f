"""Writes docs/reference: every key of a recipe and of a suite, every option of every verb, from the code itself.

python docs/generate.py          write
python docs/generate.py --check  say what is out of date, exit code 1
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import typer.main
from pydantic import BaseModel

from embedkit.cli import app
from embedkit.recipe import registry
from embedkit.recipe.kinds import OWN
from embedkit.recipe.mteb import KINDS, MtebTask
from embedkit.recipe.reading.catalogue import catalogue
from embedkit.recipe.reading.describe import config_of, first_paragraph, keys_of
from embedkit.recipe.reading.fields import Place
from embedkit.recipe.schema import Recipe
from embedkit.recipe.stages import Merge, Stage
from embedkit.recipe.suite import RetrievalTask, StsTask, Suite

FOLDER = Path(__file__).resolve().parent / "reference"
NOTE = "Generated from the code by `make docs`; change the descriptions there."
TITLES: dict[registry.Kind, str] = {
    "objective": "Objectives",
    "weighting": "Weightings",
    "head": "Batch heads",
    "view": "View transforms",
    "auxiliary": "Auxiliary losses",
    "strategy": "Strategies of mining",
}


def cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def table(model: type[BaseModel]) -> list[str]:
    return table_of(keys_of(model), tuple(model.model_fields))


def table_of(keys: list[tuple[str, str, str, str]], wanted: tuple[str, ...]) -> list[str]:
    shown = [found for found in keys if found[0] in wanted]
    rows = [f"| `{k}` | {cell(t)} | {f'`{cell(d)}`' if d else ''} | {cell(m)} |" for k, t, d, m in shown]
    return ["| key | type | default | meaning |", "| --- | --- | --- | --- |", *rows]


def section(title: str, model: type[BaseModel], level: int = 2) -> list[str]:
    return [f"{'#' * level} {title}", "", first_paragraph(model), "", *table(model), ""]


def blocks(model: type[BaseModel], path: str, seen: set[type[BaseModel]]) -> Iterator[tuple[str, type[BaseModel]]]:
    """The blocks inside a block that are not chosen by a name, with their key paths."""
    for key in model.model_fields:
        place = Place(model).child(key)
        while place is not None and not place.blocks() and place.child(0) is not None:
            place = place.child(0)
        if place is None or place.named() is not None:
            continue
        for block in place.blocks():
            if block not in seen and block is not Suite:
                seen.add(block)
                yield f"{path}{key}", block
                yield from blocks(block, f"{path}{key}.", seen)


def recipe_page() -> str:
    lines = [
        "# Every key of a recipe",
        "",
        NOTE,
        "",
        "`embedkit recipes keys BLOCK` prints the same in a terminal.",
        "",
    ]
    lines += section("The blocks", Recipe)
    for path, block in blocks(Recipe, "", set()):
        lines += section(f"`{path}`", block)
    lines += ["## `stages`", "", first_paragraph(Stage), "", *table_of(keys_of(Stage), ("name", "from", "merge")), ""]
    lines += section("`stages.merge`", Merge)
    for kind in get_args(registry.Kind):
        lines += [f"## {TITLES[kind]}", ""]
        for name in registry.names(kind):
            lines += section(f"`{name}`", config_of(kind, name), 3)
    return "\n".join(lines)


def suite_page() -> str:
    lines = ["# Every key of a suite", "", NOTE, "", *section("The suite", Suite)]
    for block in (StsTask, RetrievalTask, *OWN, MtebTask):
        lines += section(f"Tasks of `type: {block.model_fields['type'].default}`", block)
    for block in KINDS:
        lines += section(f"`data` of `kind: {block.model_fields['kind'].default}`", block, 3)
    return "\n".join(lines)


def verbs(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    for word, child in getattr(command, "commands", {}).items():
        if hasattr(child, "commands"):
            yield from verbs(child, f"{name} {word}")
        else:
            yield f"{name} {word}", child


def cli_page() -> str:
    lines = ["# Every option of the command line", "", NOTE, ""]
    for name, command in verbs(typer.main.get_command(app), "embedkit"):
        context = command.context_class(command, info_name=name)
        records = [(p.param_type_name, p.metavar, p.get_help_record(context)) for p in command.get_params(context)]
        arguments = "".join(f" {metavar}" for kind, metavar, _ in records if kind == "argument")
        lines += [f"## {name}{arguments}", "", (command.help or "").split("\b")[0].strip(), ""]
        options = [record for kind, _, record in records if kind == "option" and record and "--help" not in record[0]]
        if options:
            lines += ["| option | meaning |", "| --- | --- |"]
            plain = [(names, meaning.replace("\\[", "[")) for names, meaning in options]  # typer 0.16 escapes them
            lines += [f"| `{cell(names)}` | {cell(meaning)} |" for names, meaning in plain] + [""]
    return "\n".join(lines)


def objectives_page() -> str:
    lines = [
        "# Every objective",
        "",
        NOTE,
        "",
        "`embedkit objectives ls` and `show NAME` print the same in a terminal; the [options](recipe.md#objectives)",
        "stand with the keys. Scope row: one loss per row, which the step engine cuts into blocks and shares between",
        "processes; batch: one loss over the whole batch. Golden: entries of values from the authors' own code that it",
        "reproduces (`make conformance`).",
        "",
        "| name | data | negatives | scope | golden | what it is |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for one in catalogue():
        scope = f"{one.scope}, remembers" if one.remembers else one.scope
        cells = (f"`{one.name}`", one.data, one.negatives, scope, str(one.golden or ""), cell(one.line))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


PAGES = {"objectives.md": objectives_page, "recipe.md": recipe_page, "suite.md": suite_page, "cli.md": cli_page}


def main() -> int:
    stale = []
    FOLDER.mkdir(exist_ok=True)
    for name, page in PAGES.items():
        text, file = page().rstrip() + "\n", FOLDER / name
        if file.is_file() and file.read_text(encoding="utf-8") == text:
            continue
        stale.append(name)
        if "--check" not in sys.argv:
            file.write_text(text, encoding="utf-8")
    sys.stdout.write(f"{', '.join(stale) or 'nothing'} {'is out of date' if '--check' in sys.argv else 'written'}\n")
    return int(bool(stale) and "--check" in sys.argv)


if __name__ == "__main__":
    raise SystemExit(main())
