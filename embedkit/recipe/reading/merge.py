"""Recipes on top of recipes: `extends`, and `key=value` overrides, with every value keeping its place."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pydantic import BaseModel

from embedkit.disk import paths
from embedkit.errors import RecipeError
from embedkit.foreign.limits import DEPTH, SHOWN_LINE
from embedkit.foreign.quoting import cut, quoted
from embedkit.foreign.showing import is_unicode
from embedkit.recipe.base import Leads
from embedkit.recipe.reading.fields import Place, show
from embedkit.recipe.reading.find import find_recipe
from embedkit.recipe.reading.problems import Problem, dotted
from embedkit.recipe.reading.settle import marker
from embedkit.recipe.reading.tree import KeyPath, Node, override_value, read_tree

EXTENDS = "extends"
"""The key of a recipe that names the one below it."""
_INDEX = re.compile(r"[0-9]{1,9}")


def read_chain(path: Path, root: type[BaseModel]) -> Node:
    """Read a recipe and everything it extends, merged.

    Mappings merge deeply, lists and scalars replace. A mapping with another `name` (an objective) replaces the
    whole mapping, because its other keys belong to the name.

    Raises:
        RecipeError: any file of the chain is not valid YAML, is missing, or extends itself.
    """
    tree, seen = _read(path, []), [path.resolve()]
    folder = path.resolve().parent
    merged, parent = _without_extends(tree)
    while parent is not None:
        reference, where = parent
        path = _resolve(reference, path, where)
        if path.resolve() in seen:
            names = " -> ".join(_shown(p) for p in [*seen[seen.index(path.resolve()) :], path.resolve()])
            raise RecipeError(f"recipes extend each other in a circle: {names}", where, "break the circle")
        seen.append(path.resolve())
        below, parent = _without_extends(_read(path, seen))
        merged = merge(_reanchor(below, path.resolve().parent, folder, root), merged, root)
    return merged


def merge(below: Node, above: Node, root: type[BaseModel], path: KeyPath = ()) -> Node:
    """`above` on top of `below`."""
    if not isinstance(above.value, dict):
        return above
    below = _spelled_out(below, root, path)
    if not isinstance(below.value, dict) or (_renamed(below, above) and _chooses(root, path)):
        return above
    keys = dict.fromkeys([*below.value, *above.value])
    both = below.value.keys() & above.value.keys()
    return Node(
        {
            key: merge(below.value[key], above.value[key], root, (*path, key))
            if key in both
            else (above.value if key in above.value else below.value)[key]
            for key in keys
        },
        above.where,
    )


def apply_overrides(tree: Node, overrides: Sequence[str], root: type[BaseModel]) -> Node:
    """Set ``key.sub=value`` one after the other.

    Raises:
        RecipeError: no ``=``, no UTF-8, a value that is not YAML, or a path through something that has no keys.
    """
    for text in overrides:
        key, equals, value = text.partition("=")
        where = f"override {cut(text, SHOWN_LINE)}"
        if not is_unicode(text):
            raise RecipeError("not UTF-8", where, "write it in the terminal's own encoding, UTF-8")
        if not equals or not key.strip():
            raise RecipeError("not of the form key=value", where, "write e.g. train.batch_size=64")
        path = tuple(int(part) if _INDEX.fullmatch(part) else part for part in key.strip().split("."))
        if len(path) > DEPTH:
            raise RecipeError(f"a key of more than {DEPTH} parts", where, "write e.g. train.batch_size=64")
        tree = _set(tree, path, override_value(value, where), root)
    return tree


def _set(tree: Node, path: KeyPath, value: Node, root: type[BaseModel], done: KeyPath = ()) -> Node:
    if not path:
        return merge(tree, value, root, done) if _renamed(tree, value) and _chooses(root, done) else value
    tree = _spelled_out(tree, root, done)
    key, rest = path[0], path[1:]
    if tree.value is None:
        tree = Node([] if isinstance(key, int) else {}, value.where)
    if isinstance(tree.value, list):
        if not isinstance(key, int) or key > len(tree.value):
            raise _no_index(tree, key, value, done)
        old = tree.child(key) or Node(None, value.where)
        new = _set(old, rest, value, root, (*done, key))
        return replace(tree, value=[*tree.value[:key], new, *tree.value[key + 1 :]])
    if not isinstance(tree.value, dict):
        what = f"{dotted(done)} is {show(tree.plain())}, which has no keys"
        raise RecipeError(what, value.where, f"set {dotted(done)} itself")
    name = str(key)
    if name == "name" and not rest and _chooses(root, done) and _renamed(tree, Node({"name": value}, value.where)):
        return Node({"name": value}, value.where)
    child = tree.value.get(name) or Node(None, value.where)
    return replace(tree, value={**tree.value, name: _set(child, rest, value, root, (*done, name))})


def _no_index(tree: Node, key: str | int, value: Node, done: KeyPath) -> RecipeError:
    count = len(tree.value)
    what = f"{dotted(done)} is a list of {count}; {quoted(key)} is not one of its indices"
    return RecipeError(what, value.where, f"use 0 to {count - 1}, or {count} to append" if count else "use 0")


def _spelled_out(node: Node, root: type[BaseModel], path: KeyPath) -> Node:
    """``objective: infonce`` as ``objective: {name: infonce}``, so that keys can be merged into it."""
    place = Place.find(root, Node({}, ""), path) if isinstance(node.value, str) else None
    return Node({"name": node}, node.where) if place is not None and place.named() else node


def _chooses(root: type[BaseModel], path: KeyPath) -> bool:
    """Whether the `name` of a block chooses what its other keys mean (an objective's does, a source's does not)."""
    place = Place.find(root, Node({}, ""), path)
    return place is None or place.named() is not None  # None: below a class that only the value chooses


def _renamed(below: Node, above: Node) -> bool:
    old, new = below.child("name"), above.child("name")
    return old is not None and new is not None and old.value != new.value


def _read(path: Path, seen: list[Path]) -> Node:
    return read_tree(path, _shown(path))


def _shown(path: Path) -> str:
    """The path as messages name it: relative where that is shorter."""
    relative = os.path.relpath(path)
    return relative if len(relative) < len(str(path.absolute())) else str(path)


def _without_extends(tree: Node) -> tuple[Node, tuple[str, str] | None]:
    found = tree.child(EXTENDS)
    if found is None:
        return tree, None
    if not isinstance(found.value, str):
        raise Problem(found.where, (EXTENDS,), f"expected text, got {show(found.plain())}", "name one recipe").error()
    rest = {key: node for key, node in tree.value.items() if key != EXTENDS}
    return replace(tree, value=rest), (found.value, found.where)


def _resolve(reference: str, child: Path, where: str) -> Path:
    beside = child.parent / paths.at_home(reference)
    if paths.is_there(beside, Path.is_file):
        return beside
    try:
        return find_recipe(reference)
    except RecipeError as error:
        what = f"extends: no such recipe {quoted(reference)}"
        raise RecipeError(what, where, f"a path relative to this file, or a shipped name. {error.cure}") from error


def _reanchor(tree: Node, folder: Path, target: Path, root: type[BaseModel]) -> Node:
    """Rewrite paths that exist beside an extended recipe so that they hold from the folder of the extending one."""
    if folder == target:
        return tree

    def walk(node: Node, place: Place | None) -> Node:
        if place is None:
            return node
        if isinstance(node.value, dict):
            return replace(node, value={key: walk(child, place.child(key)) for key, child in node.value.items()})
        if isinstance(node.value, list):
            return replace(node, value=[walk(item, place.child(i)) for i, item in enumerate(node.value)])
        mark = marker(place.field)
        if mark is None or not isinstance(node.value, str):
            return node
        if isinstance(mark, Leads):
            return replace(node, value=moved(node.value))
        inside = {part: path for part, (path, _) in mark.paths_of(node.value).items()}
        changed = {part: moved(path) for part, path in inside.items() if moved(path) != path}
        return replace(node, value=mark.with_paths(node.value, changed)) if changed else node

    def moved(path: str) -> str:
        if not path or paths.at_home(path).is_absolute() or not paths.is_pattern_met(folder, path):
            return path
        return Path(os.path.relpath(folder / path, target)).as_posix()

    return walk(tree, Place(root, value=tree.plain()))
