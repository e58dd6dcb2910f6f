"""Keep the machine out of what is passed on: a path names people, customers and projects."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

_PART = r"[^\s\"'`<>|,;:()\[\]{}/\\]+"
_ABSOLUTE = re.compile(
    rf"(?:file://|(?<![\w./~\\-])(?<!:/))(?:~{_PART}(?:/{_PART})+|(?:/{_PART}){{2,}})/?"  # /home/me/x, ~me/x, file:///x/y
    rf"|(?<![\w\\])[A-Za-z]:[\\/](?:{_PART}[\\/])*(?:{_PART})?"  # C:\Users\me\x
    rf"|(?<![\w\\])\\\\{_PART}(?:\\{_PART})+"  # \\server\share\x
)
_WHOLE = re.compile(r"(?:file://)?(?:/[^/\n]+/|~[^/\n]+/|[A-Za-z]:[\\/]|\\\\)[^\n]+")
"""A text that is a path and nothing else; such a path may hold spaces."""


def without_places(value: Any, run: Path) -> Any:
    """`value` without absolute paths, in strings at any depth of dicts and lists.

    A path into the run's or the working folder becomes relative to it; of another one the last part stays:
    ``…/train.tsv``. Relative paths are the recipe's own words and stay.

    Args:
        value: plain data.
        run: folder of the run.
    """
    near = [str(folder) for folder in dict.fromkeys([run, run.resolve(), Path.cwd()]) if len(folder.parts) > 1]
    whole = sorted({part for text in _strings(value) for part in _and_above(text)}, key=len, reverse=True)
    shown = {text: _shown(text, near) for text in whole}
    known = re.compile(f"(?:{'|'.join(map(re.escape, whole))})(?![\\w/])") if whole else None
    inside = re.compile(rf"(?<![\w./~-])(?:{'|'.join(map(re.escape, near))})/") if near else re.compile("(?!)")
    home = re.compile(rf"{re.escape(str(Path.home()))}(?![\w.-])") if len(Path.home().parts) > 1 else None

    def clean(text: str) -> str:
        if text in shown:
            return shown[text]
        if known is not None:
            text = known.sub(lambda found: shown[found[0]], text)
        text = inside.sub("", text)
        text = _ABSOLUTE.sub(lambda found: _shown(found[0], near), text)
        return text if home is None else home.sub("~", text)

    return _mapped(value, clean)


def near(path: Path) -> str:
    """A folder as it may be named in code that is passed on: from the working folder, else its last two parts."""
    path = path.resolve()
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path.relative_to(path.parent.parent))


def _and_above(text: str) -> Iterator[str]:
    """A text that is a path, and the folders above it; nothing of another text."""
    while _WHOLE.fullmatch(text):
        yield text
        text = re.sub(r"[\\/][^\\/]*$", "", text)


def _shown(path: str, near: list[str]) -> str:
    path = path.removeprefix("file://")
    if path.rstrip("/") in near:
        return "."
    for folder in near:
        if path.startswith(f"{folder}/"):
            return path.removeprefix(f"{folder}/")
    parts = [part for part in re.split(r"[\\/]", path) if part]
    return f"…/{parts[-1]}" if parts else path


def _mapped(value: Any, clean: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict):
        return {clean(k) if isinstance(k, str) else k: _mapped(v, clean) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_mapped(v, clean) for v in value]
    return value


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ():
        yield from _strings(part)
