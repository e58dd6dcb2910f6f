"""Writes docs/reference: every key of a recipe and of a suite, every option of every verb, every public name of Python,
from the code itself.

python docs/generate.py          write
python docs/generate.py --check  say what is out of date, exit code 1
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import typer.main
from pydantic import BaseModel

import embedkit
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
            lines += [f"| `{cell(names)}` | {cell(meaning)} |" for names, meaning in options] + [""]
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


SECTION = re.compile(r"^(Args|Attributes|Returns|Raises|Example):$\n", re.MULTILINE)


def prose(text: str) -> str:
    """A docstring's text as Markdown."""
    return inspect.cleandoc(text).replace("``", "`")


def described(something: Any) -> list[str]:
    """A docstring: its text, lists of its arguments and errors, its example."""
    text, *rest = SECTION.split(inspect.getdoc(something) or "")
    lines = [prose(text), ""]
    for title, body in zip(rest[::2], rest[1::2], strict=True):
        body = inspect.cleandoc(body)
        if title == "Example":
            lines += ["```pycon", body, "```", ""]
        elif title == "Returns":
            lines += [f"**Returns** {prose(body)}", ""]
        else:
            items = (re.sub(r"\s*\n\s*", " ", item) for item in re.split(r"\n(?=\S)", body))
            parts = (item.partition(": ") for item in items)
            lines += [f"**{title}**", "", *(f"- `{name}`: {prose(words)}" for name, _, words in parts), ""]
    return lines


def call(name: str, function: Any) -> list[str]:
    """How something is called, as its source has it; an argument a line where it is long."""
    node = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    assert isinstance(node, ast.FunctionDef)
    given, defaults = node.args, [*node.args.defaults]
    named = [*given.posonlyargs, *given.args]
    arguments = list(zip(named, [None] * (len(named) - len(defaults)) + defaults, strict=True))
    if arguments and arguments[0][0].arg in ("self", "cls"):
        arguments = arguments[1:]
    shown = [argument(one, default) for one, default in arguments]
    shown += [f"*{given.vararg.arg}"] if given.vararg else ["*"] if given.kwonlyargs else []
    shown += [argument(one, default) for one, default in zip(given.kwonlyargs, given.kw_defaults, strict=True)]
    shown += [f"**{argument(given.kwarg, None)}"] if given.kwarg else []
    after = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    line = f"{name}({', '.join(shown)}){after}"
    lines = [line] if len(line) <= 100 else [f"{name}(", *(f"    {one}," for one in shown), f"){after}"]
    return ["```py", *lines, "```", ""]


def argument(one: ast.arg, default: ast.expr | None) -> str:
    return ast.unparse(one) + (f" = {ast.unparse(default)}" if default is not None else "")


def methods(cls: type) -> Iterator[tuple[str, Any]]:
    """What a class of ours says of its own public methods and properties."""
    for name, found in vars(cls).items():
        own = found.fget if isinstance(found, property) else getattr(found, "__func__", found)
        if not name.startswith("_") and inspect.isfunction(own) and own.__doc__:
            yield name, found


def api_page() -> str:
    lines = [
        "# Every public name",
        "",
        NOTE,
        "",
        "The examples run in a test, in a folder that holds what they name.",
        "",
    ]
    for name in embedkit.__all__[1:]:
        found = getattr(embedkit, name)
        lines += [f"## embedkit.{name}", ""]
        if isinstance(found, type) and issubclass(found, BaseModel):
            lines += [*described(found), "Its keys are those of [a recipe](recipe.md).", ""]
            continue
        if not isinstance(found, type):
            lines += call(name, found)
        lines += described(found)
        for method, own in methods(found) if isinstance(found, type) else ():
            function = own.fget if isinstance(own, property) else getattr(found, method)
            title = f"{name}.{method}"
            lines += [f"### {title}", ""]
            lines += [] if isinstance(own, property) else call(title, function)
            lines += described(function)
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines))


PAGES = {
    "api.md": api_page,
    "objectives.md": objectives_page,
    "recipe.md": recipe_page,
    "suite.md": suite_page,
    "cli.md": cli_page,
}


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
