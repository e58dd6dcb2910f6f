"""Where the paths of a recipe lead. Relative ones start at the recipe's folder, then at the working folder.

They are settled once, right after reading (`embedkit.recipe.reading.settle`): a settled path is still the text that the
recipe holds, so that it is hashed, saved and shown as written, and it knows the places that can be opened.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

Kind = Literal["file", "files", "folder", "suite"]
"""What a path should lead to. ``files``: a file or a glob pattern. ``folder``: or an id on the Hub. ``suite``: a file,
with tasks chosen after a colon if need be, or the name of a shipped one."""


class Located(str):
    """A path as it was written, and where it leads.

    Attributes:
        places: what is there: none, one, or the sorted files of a pattern.
        looked: the folders that were tried, in order of preference.
    """

    places: tuple[Path, ...]
    looked: tuple[Path, ...]

    def __new__(cls, written: str, places: Sequence[Path] = (), looked: Sequence[Path] = ()) -> Located:
        made = super().__new__(cls, written)
        made.places, made.looked = tuple(places), tuple(looked)
        return made

    @property
    def place(self) -> Path | None:
        """The first of `places`."""
        return self.places[0] if self.places else None


class Holding(str):
    """A text that holds paths among other things, as it was written, and where they lead.

    Attributes:
        inside: the paths, by the names that the text's own format gives them.
    """

    inside: Mapping[str, Located]

    def __new__(cls, written: str, inside: Mapping[str, Located] | None = None) -> Holding:
        made = super().__new__(cls, written)
        made.inside = dict(inside or {})
        return made


def starts(base_dir: Path | None) -> tuple[Path, ...]:
    """The folders that relative paths start from, in order of preference.

    Args:
        base_dir: folder of the recipe; None where there is none.
    """
    return (Path.cwd(),) if base_dir is None else (base_dir, Path.cwd())


def locate(written: str, kind: Kind, folders: Sequence[Path] | None = None) -> Located:
    """Settle a path.

    Args:
        written: a path, ``~`` allowed; one that is settled already stays so.
        kind: what it should lead to.
        folders: where relative paths start, in order of preference; None: the working folder.
    """
    if isinstance(written, Located):
        return written
    looked = starts(None) if folders is None else tuple(folders)
    if kind == "files":
        return Located(written, _matches(written, looked), looked)
    there: dict[Kind, Callable[[Path], bool]] = {"file": Path.is_file, "folder": Path.is_dir, "suite": Path.is_file}
    path = written if kind != "suite" else _suite_file(written, looked)
    found = _find(path, looked, there[kind])
    return Located(written, [] if found is None else [found], looked)


def is_there(path: Path, what: Callable[[Path], bool] = Path.exists) -> bool:
    """Whether `what` holds; no for what no path can be, a name of thousands of characters."""
    try:
        return what(path)
    except (OSError, ValueError):
        return False


def is_pattern_met(folder: Path, pattern: str) -> bool:
    """Whether a glob pattern finds anything below a folder; no for what is no pattern."""
    try:
        return any(folder.glob(pattern))
    except (OSError, ValueError, IndexError, NotImplementedError):
        return False


def file(written: str) -> Path | None:
    """The file that a path leads to, settled or not; None where there is none."""
    return locate(written, "file").place


def folder(written: str) -> Path | None:
    """The folder that a path leads to, settled or not; None where there is none."""
    return locate(written, "folder").place


def folder_or_id(written: str) -> str:
    """The folder that `written` leads to where there is one, else `written`: an id of a model or dataset on the Hub."""
    found = folder(written)
    return str(written) if found is None else str(found)


def is_path(written: str) -> bool:
    """Whether `written` can only be a path: it is no id that the Hub could have, there or not."""
    return written.startswith((".", "/", "~")) or "\\" in written or written.count("/") > 1 or written.endswith("/")


def at_home(written: str | os.PathLike[str]) -> Path:
    """A path with ``~`` and ``~user`` as the home folder; ``~`` before the name of no user is part of a file's name."""
    return Path(os.path.expanduser(written))  # noqa: PTH111 (pathlib's raises where there is no such user)


def words(folders: Sequence[Path]) -> str:
    """Folders in a sentence, each once."""
    return " and ".join(str(one) for one in dict.fromkeys(folders))


def _find(written: str, folders: Sequence[Path], there: Callable[[Path], bool]) -> Path | None:
    wanted = at_home(written)
    return next((start / wanted for start in folders if is_there(start / wanted, there)), None)


def _matches(pattern: str, folders: Sequence[Path]) -> list[Path]:
    """Files that a path or glob pattern means, sorted: in the first of `folders` where it matches any."""
    wanted = at_home(pattern)
    for start in [Path()] if wanted.is_absolute() else folders:
        place = start / wanted
        single = is_there(place, Path.is_file)
        found = [place] if single else sorted(Path(p) for p in glob.glob(str(place), recursive=True))  # noqa: PTH207
        found = [p for p in found if is_there(p, Path.is_file)]
        if found:
            return found
    return []


def split_suite(written: str, folders: Sequence[Path] | None = None) -> tuple[str, list[str]]:
    """``sts:STS-B,SICK-R`` -> name and tasks. A colon that belongs to a path (``C:\\suite.yaml``) stays in it."""
    if isinstance(written, Located):
        folders = written.looked
    head, colon, tail = written.rpartition(":")
    whole = _find(written, starts(None) if folders is None else folders, Path.is_file)
    if not colon or whole is not None or "/" in tail or "\\" in tail:
        return str(written), []
    return head, [name.strip() for name in tail.split(",")]


def _suite_file(written: str, folders: Sequence[Path]) -> str:
    return split_suite(written, folders)[0]
