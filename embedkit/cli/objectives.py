"""``embedkit objectives``: every loss that a recipe may name, and what it is."""

from __future__ import annotations

import inspect
from typing import Annotated

import typer

from embedkit.cli.console import console, say
from embedkit.cli.help import App

app = App(no_args_is_help=True, help="List and explain the objectives that a recipe may train with.")


@app.command("ls")
def ls() -> None:
    """List all objectives: the data each needs, where its negatives come from, how it is evaluated.

    scope row: one loss per row, cut into blocks and shared by the processes; batch: one over the whole batch. golden:
    how many entries of values from the authors' own code it reproduces.
    """
    from rich.table import Table
    from rich.text import Text

    from embedkit.recipe.reading.catalogue import catalogue

    table = Table(box=None, pad_edge=False)
    for name in ("name", "data", "negatives", "scope", "golden", "what it is"):
        table.add_column(name, no_wrap=name == "name", justify="right" if name == "golden" else "left")
    for one in catalogue():
        scope = f"{one.scope}, remembers" if one.remembers else one.scope
        cells = (one.data, one.negatives, scope, str(one.golden or ""), one.line)
        table.add_row(Text(one.name, style="cyan"), *map(Text, cells))
    console().print(table)
    say("one of them: embedkit objectives show NAME; its options: embedkit recipes keys NAME")


@app.command("show", no_args_is_help=True)
def show(name: Annotated[str, typer.Argument(metavar="NAME", help="An objective, such as infonce.")]) -> None:
    """Explain an objective: formula, paper, defaults, the recipes that use it, what it was compared with.

    \b
      embedkit objectives show mann_whitney
    """
    from rich.table import Table
    from rich.text import Text

    from embedkit.recipe import registry
    from embedkit.recipe.reading.catalogue import papers, recipes_with, shown
    from embedkit.recipe.reading.describe import config_of, keys_of

    one, config = shown(name), config_of("objective", name)
    code = registry.resolve(registry.lookup("objective", name).target)
    text = inspect.getdoc(code) or ""
    found = papers(config.__doc__ or "", text)
    uses = recipes_with(name)
    facts = {
        "data": one.data,
        "negatives": one.negatives,
        "scope": f"{one.scope}, remembers between steps" if one.remembers else one.scope,
        "paper": ", ".join(found) or "see above",
        "recipes": ", ".join(uses) or f"none ships; objective: {{name: {name}}}",
        "golden": f"{one.golden} entries of the authors' values" if one.golden else "no entry; see its tests",
    }
    say(f"{name}: {one.line}")
    for line in ("", *text.splitlines(), ""):
        say(line)
    for label, value in facts.items():
        say(f"{label:<13}{value}")
    table = Table(box=None, pad_edge=False)
    for label in ("option", "type", "default", "meaning"):
        table.add_column(label, no_wrap=label == "option")
    for row in keys_of(config)[1:]:
        table.add_row(*(Text(cell, style="cyan" if i == 0 else "") for i, cell in enumerate(row)))
    say("")
    console().print(table)
