"""Where a relative path of a recipe leads: the recipe's folder is tried first, then the working folder."""

from __future__ import annotations

import glob
from collections.abc import Callable, Sequence
from pathlib import Path


def starts(base_dir: Path | None) -> tuple[Path, ...]:
    """The folders that relative paths start from, in order of preference.

    Args:
        base_dir: folder of the recipe; None where there is none.
    """
    return (Path.cwd(),) if base_dir is None else (base_dir, Path.cwd())


def find(name: str | Path, base_dir: Path | None, there: Callable[[Path], bool] = Path.exists) -> Path | None:
    """The first place of `name` where `there` holds, or None.

    Args:
        name: a path, ``~`` allowed.
        base_dir: folder of the recipe.
        there: what is looked for, e.g. ``Path.is_dir``.
    """
    wanted = Path(name).expanduser()
    return next((folder / wanted for folder in starts(base_dir) if there(folder / wanted)), None)


def folder_or_id(name: str, base_dir: Path | None) -> str:
    """The folder that `name` means where there is one, else `name` itself: the id of a model or dataset on the Hub."""
    return str(find(name, base_dir, Path.is_dir) or name)


def matches(pattern: str, folders: Sequence[Path]) -> list[Path]:
    """Files that a path or glob pattern means, sorted: in the first of `folders` where it matches any."""
    wanted = Path(pattern).expanduser()
    for folder in [Path()] if wanted.is_absolute() else folders:
        place = folder / wanted
        found = [place] if place.is_file() else sorted(Path(p) for p in glob.glob(str(place), recursive=True))  # noqa: PTH207
        found = [p for p in found if p.is_file()]
        if found:
            return found
    return []
