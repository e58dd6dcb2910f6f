"""Where recipes are: a path, or the name of one that ships with embedkit."""

from __future__ import annotations

from pathlib import Path

from embedkit.disk import paths
from embedkit.errors import RecipeError
from embedkit.foreign.quoting import cut, did_you_mean

_PACKAGE = Path(__file__).resolve().parents[2]
ENDINGS = (".yaml", ".yml")


def shipped_folder() -> Path:
    """The folder of the shipped recipes: in the wheel, else in the checkout."""
    inside = _PACKAGE / "_recipes"
    return inside if inside.is_dir() else _PACKAGE.parent / "recipes"


def list_recipes() -> list[Path]:
    """All shipped recipes, sorted by name."""
    return sorted(shipped_folder().rglob("*.yaml"))


def recipe_name(path: Path) -> str:
    """How a shipped recipe is called: ``unsup/simcse``."""
    return path.relative_to(shipped_folder()).with_suffix("").as_posix()


def find_recipe(name: str | Path) -> Path:
    """The file of a recipe.

    Args:
        name: a path, or the name of a shipped recipe such as ``unsup/simcse``. A file that exists wins.

    Raises:
        RecipeError: there is no such file; the message gives the nearest name.
    """
    path = paths.at_home(name)
    if paths.is_there(path, Path.is_file):
        return path
    if paths.is_there(path, Path.is_dir):
        raise RecipeError("is a folder, not a recipe", str(name), f"name the file, e.g. {path / 'recipe.yaml'}")
    shipped = {recipe_name(p): p for p in list_recipes()}
    wanted = path.as_posix().removesuffix(path.suffix if path.suffix in ENDINGS else "")
    if wanted in shipped:
        return shipped[wanted]
    there = paths.is_there(path.parent, Path.is_dir)
    here = sorted(str(p) for p in path.parent.glob("*.y*ml")) if there else []
    near = did_you_mean(str(path), [*here, *shipped])
    if not near:
        near = next((f"did you mean {n!r}? " for n in shipped if n.rpartition("/")[2] == wanted), "")
    raise RecipeError("no such recipe", cut(str(name)), f"{near}`embedkit recipes ls` lists the shipped ones")


def base_dir_of(recipe: str | Path) -> Path:
    """The folder that paths inside a recipe are relative to."""
    return find_recipe(recipe).resolve().parent


def headline(path: Path) -> str:
    """The first line of the comment at the head of a recipe; empty if there is none."""
    for line in path.read_text(encoding="utf-8-sig").splitlines():
        text = line.strip()
        if text and not text.startswith("#"):
            break
        if text.strip("# ="):
            return text.lstrip("# ")
    return ""
