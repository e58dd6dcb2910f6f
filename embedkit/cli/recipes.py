"""``embedkit recipes``: what ships, what it says, a copy to change."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from embedkit.cli.console import console, say
from embedkit.cli.help import App
from embedkit.cli.options import Overrides, Recipe

app = App(no_args_is_help=True, help="List, show and copy the recipes that ship with embedkit.")


@app.command("ls")
def ls() -> None:
    """List the shipped recipes with the first line of each one's head."""
    from rich.table import Table
    from rich.text import Text

    from embedkit.errors import EmbedkitError
    from embedkit.recipe.load import list_recipes
    from embedkit.recipe.reading.find import headline, recipe_name, shipped_folder

    found = list_recipes()
    if not found:
        raise EmbedkitError("no recipes found", str(shipped_folder()), "reinstall embedkit-train")
    table = Table("recipe", "what it is", box=None, pad_edge=False)
    for path in found:
        table.add_row(Text(recipe_name(path), style="cyan"), Text(headline(path)))
    console().print(table)


@app.command("show", no_args_is_help=True)
def show(
    recipe: Recipe,
    overrides: Overrides = None,
    full: Annotated[
        bool, typer.Option("--full", help="Resolve extends and overrides, and write every default out.")
    ] = False,
) -> None:
    """Print a recipe; secrets in it are left out, characters that act on a terminal are escaped.

    \b
      embedkit recipes show unsup/simcse
      embedkit recipes show unsup/simcse train.seed=7 --full
    """
    from embedkit.recipe.load import LoadedStages, dump, find_recipe, load_any
    from embedkit.recipe.reading.dump import dump_stages

    if full or overrides:
        found = load_any(recipe, overrides or ())
        whole = dump_stages(found.staged) if isinstance(found, LoadedStages) else dump(found.recipe)
        typer.echo(whole, nl=False)
    else:
        typer.echo(_as_written(find_recipe(recipe)), nl=False)


def _as_written(path: Path) -> str:
    """A recipe's text, comments included, fit to be seen."""
    from embedkit.errors import RecipeError
    from embedkit.foreign.redacting import HIDDEN, secrets
    from embedkit.foreign.showing import shown
    from embedkit.recipe.reading.tree import read_text, read_tree

    text = read_text(path, str(path))
    try:
        hidden = secrets(read_tree(path, str(path)).plain())
    except RecipeError:  # what is no recipe is shown all the same
        hidden = []
    for secret in sorted(hidden, key=len, reverse=True):
        text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", HIDDEN, text)
    return shown(text, lines=True)


@app.command("cp", no_args_is_help=True)
def cp(
    recipe: Recipe,
    target: Annotated[
        Path | None, typer.Argument(metavar="TARGET", help="File or folder; default: here, under its own name.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the target.")] = False,
) -> None:
    """Copy a recipe to change it.

    \b
      embedkit recipes cp unsup/simcse
      embedkit recipes cp unsup/simcse mine.yaml
    """
    from embedkit.disk import files
    from embedkit.errors import EmbedkitError
    from embedkit.recipe.load import find_recipe

    source = find_recipe(recipe)
    place = target or Path()
    if place.is_dir():
        place = place / source.name
    if place.exists() and not force:
        raise EmbedkitError("exists already", str(place), "name another file, or add --force")
    files.write_bytes(place, source.read_bytes())
    say(f"{source} -> {place}")


@app.command("schema")
def schema() -> None:
    """Print the JSON Schema of a recipe, for editors that complete and check YAML.

    \b
      embedkit recipes schema > recipe.schema.json
      # then, at the head of a recipe:  # yaml-language-server: $schema=recipe.schema.json
    """
    import json

    from embedkit.recipe.reading.json_schema import json_schema

    typer.echo(json.dumps(json_schema(), indent=1, ensure_ascii=False))


@app.command("keys")
def keys(
    block: Annotated[
        str, typer.Argument(metavar="BLOCK", help="A block such as train, or an objective or weighting by name.")
    ] = "",
) -> None:
    """Explain the keys of a recipe: type, bounds, default, meaning.

    \b
      embedkit recipes keys                         the blocks
      embedkit recipes keys train
      embedkit recipes keys data.sources
      embedkit recipes keys infonce
    """
    from rich.table import Table
    from rich.text import Text

    from embedkit.recipe.reading.describe import describe, names_of

    title, rows = describe(block)
    names = names_of(block)
    if names:  # the keys belong to the name
        table = Table("name", "what it is", title=f"{block}: one of these names", title_justify="left", box=None)
        for name, meaning in names:
            table.add_row(Text(name, style="cyan"), Text(meaning))
        console().print(table, soft_wrap=False)
        say(f"the keys of one: embedkit recipes keys {names[0][0]}")
        return
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for name in ("key", "type", "default", "meaning"):
        table.add_column(name, no_wrap=name == "key")
    for row in rows:
        table.add_row(*(Text(cell, style="cyan" if i == 0 else "") for i, cell in enumerate(row)))
    console().print(table, soft_wrap=False)
