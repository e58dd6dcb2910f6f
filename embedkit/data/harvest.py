"""Docstrings of installed packages, read with `ast`: no package is imported, no code runs."""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import inspect
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

SKIPPED_FOLDERS = frozenset({"tests", "test", "testing", "examples", "externals", "_vendor", "vendored", "_vendored"})
"""Folders that hold tests, or other packages' code."""

_HEADING = re.compile(r"^\s*([=\-~^*#`\"'+.])\1{2,}\s*$")
_SIGNATURE = re.compile(r"^[\w.]+\(.*\)(\s*(->|:).*)?$", re.DOTALL)
_SECTION = r"Parameters?|Returns?|Args|Arguments|Raises|Examples?|Attributes|Notes?|Yields?|References|See [Aa]lso"
_FIELDS = re.compile(rf"^(({_SECTION})\s*:*|\w+ \(.*\):?|:\w+.*)\s*$")  # a first line that summarises nothing
_TRAILING = re.compile(rf"(^|\s+)(({_SECTION})\s*:*\s*)+$")
_ADMONITION = re.compile(r"^\s*\.\. (note|warning|important|tip|seealso|attention|caution|hint)::")
_MARKUP_LINE = re.compile(r"^\s*\.\. (_[^:]+:|[\w:-]+::).*$")
_PLACEHOLDER = re.compile(r"%\(\w+\)s|\{\w+\}")
_ROLE = re.compile(r":[\w:.+-]+:`([^`]+)`")
_TARGET = re.compile(r"`([^`<]+?)\s*<[^>`]+>`_*")
_EMPHASIS = re.compile(r"(?<!\w)(\*{1,2})(\S(?:[^*\n]*\S)?)\1(?!\w)")


class Docstring(NamedTuple):
    """A docstring in two parts: the summary, and the rest in which the summary does not occur."""

    origin: str
    summary: str
    rest: str


def locate(package: str) -> Path | None:
    """The folder or file of an installed top-level package, without importing it; None if it is not installed."""
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    if spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations)))
    return Path(spec.origin) if spec.origin and spec.origin.endswith(".py") else None


def version_of(package: str, distributions: dict[str, list[str]]) -> str:
    """The installed version behind an import name; ``?`` if no distribution claims it."""
    names = distributions.get(package)
    return importlib.metadata.version(names[0]) if names else "?"


def harvest(package: str, location: Path) -> Iterator[Docstring]:
    """Every docstring with a summary and a rest: of modules, classes, methods and functions, in file order."""
    if location.is_file():
        yield from _docstrings(location, package)
        return
    for file in sorted(location.rglob("*.py")):
        inside = file.relative_to(location)
        if SKIPPED_FOLDERS & set(inside.parts[:-1]) or file.name.startswith(("test_", "conftest")):
            continue
        parts = [part for part in inside.with_suffix("").parts if part != "__init__"]
        yield from _docstrings(file, ".".join([package, *parts]))


def _docstrings(file: Path, module: str) -> Iterator[Docstring]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)  # other people's escape sequences
            tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):
        return  # templates, and files for other versions of Python
    for name, node in _documented(tree, module):
        text = ast.get_docstring(node, clean=False)
        parts = split_docstring(text) if text else None
        if parts:
            yield Docstring(name, *parts)


_Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def _documented(node: ast.AST, name: str) -> Iterator[tuple[str, _Documented]]:
    if isinstance(node, _Documented):
        yield name, node
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            yield from _documented(child, f"{name}.{child.name}")
        elif isinstance(child, (ast.If, ast.Try, ast.With)):
            yield from _documented(child, name)


def split_docstring(text: str) -> tuple[str, str] | None:
    """Summary and rest as running text, without markup, examples and headings; None if either is missing.

    The summary is the first paragraph (a signature before it is passed over). Sentences of the rest that repeat
    the summary, or that the summary contains, are removed.
    """
    paragraphs = _paragraphs(inspect.cleandoc(text))
    while paragraphs and _SIGNATURE.match(paragraphs[0]):
        paragraphs.pop(0)
    if not paragraphs or _FIELDS.match(paragraphs[0].partition("\n")[0]):
        return None
    summary = " ".join(paragraphs[0].split())
    rest = _TRAILING.sub("", without_repeats(" ".join(" ".join(paragraphs[1:]).split()), summary))
    return (summary, rest) if summary and rest else None


def _paragraphs(text: str) -> list[str]:
    """Paragraphs of prose and field lists; interactive examples are left out with what they print."""
    kept: list[list[str]] = [[]]
    example = False
    for line in text.splitlines():
        line = _ADMONITION.sub("", line)
        if not line.strip():
            example = False
            kept.append([])
        elif line.lstrip().startswith((">>>", "```")):
            example = True
        elif not (example or _HEADING.match(line) or _MARKUP_LINE.match(line)):
            kept[-1].append(_plain(line))
    return ["\n".join(lines) for lines in kept if lines]


def _plain(line: str) -> str:
    """A line without reStructuredText markup and template placeholders."""
    if "`" in line:
        line = _TARGET.sub(r"\1", _ROLE.sub(lambda m: m[1].split("<")[0].strip().lstrip("~!"), line)).replace("`", "")
    if "*" in line:
        line = _EMPHASIS.sub(r"\2", line)
    return _PLACEHOLDER.sub("", line) if "%(" in line or "{" in line else line


def sentences(text: str) -> list[str]:
    """Sentences of running text, by their final punctuation."""
    return re.split(r"(?<=[.!?:])\s+", text)


def bare(text: str) -> str:
    """What two texts share that differ in case, punctuation and white space only."""
    return " ".join(re.findall(r"\w+", text.casefold()))


def without_repeats(rest: str, summary: str) -> str:
    """`rest` without the sentences that say what `summary` says word for word."""
    whole = bare(summary)
    said = {whole, *(bare(s) for s in sentences(summary))}
    kept = [s for s in sentences(rest) if not (bare(s) in said or (whole and f" {whole} " in f" {bare(s)} "))]
    text = " ".join(kept)
    return "" if f" {whole} " in f" {bare(text)} " else text
