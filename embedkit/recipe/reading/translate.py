"""pydantic's errors as problems with a line, the nearest valid key and a cure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

from embedkit.foreign.limits import SHOWN_PROBLEMS
from embedkit.foreign.quoting import cut, quoted
from embedkit.recipe.reading.fields import SYNONYMS, Place, bound, choices, elsewhere, nearest, show
from embedkit.recipe.reading.problems import Problem, dotted
from embedkit.recipe.reading.tree import KeyPath, Node

_WRONG_TYPE = (
    "_type",
    "_parsing",
    "literal_error",
    "int_from_float",
    "is_instance_of",
    "model_attributes_type",
    "finite_number",
)
_BOUNDS = {
    "greater_than": ("> ", "gt"),
    "greater_than_equal": (">= ", "ge"),
    "less_than": ("< ", "lt"),
    "less_than_equal": ("<= ", "le"),
}


@dataclass(frozen=True)
class _Located:
    """A pydantic error with its location split into the real key path and pydantic's tags of union members."""

    error: Any
    path: KeyPath
    union: KeyPath | None  # where the first tag stood
    tag: str

    @property
    def type(self) -> str:
        return str(self.error["type"])

    @property
    def wrong_type(self) -> bool:
        return self.type.endswith(_WRONG_TYPE)


class _Places:
    """Places of the schema by key path, for one written value."""

    def __init__(self, root: type[BaseModel], tree: Node, beside: Sequence[str]) -> None:
        self.root, self.beside, self._whole = root, beside, Place(root, value=tree.plain())

    def find(self, path: KeyPath) -> Place | None:
        """As `Place.find`."""
        place: Place | None = self._whole
        for key in path:
            place = place.child(key) if place else None
        return place


def problems(
    error: ValidationError, root: type[BaseModel], tree: Node, leave_out: str = "", beside: Sequence[str] = ()
) -> list[Problem]:
    """Every error of a validation, in the order of the file, one problem per key path and fact.

    Args:
        error: what pydantic raised.
        root: the class that was validated.
        tree: the value that was validated, with places.
        leave_out: a type of errors that are not asked for.
        beside: keys that may stand at the top of the file, and are none of `root`; cures name them.
    """
    located = sorted(
        _prune([_locate(e, tree) for e in error.errors(include_url=False)]),
        key=lambda item: _file_order(tree.at(item.path).where, item.path),
    )
    places = _Places(root, tree, beside)
    found: dict[tuple[KeyPath, str], Problem] = {}
    for item in (item for item in located if item.type != leave_out):
        if len(found) < 2 * SHOWN_PROBLEMS:
            problem = _problem(item, places, tree)
        else:  # counted, not shown: looking for its cure would be in vain
            problem = Problem(tree.at(item.path).where, item.path, item.error["msg"], "")
        found.setdefault((problem.path, problem.what), problem)
    return sorted(found.values(), key=lambda problem: _file_order(problem.where, problem.path))


def _locate(error: Any, tree: Node) -> _Located:
    path: list[str | int] = []
    union: KeyPath | None = None
    tag = ""
    node: Node | None = tree
    loc = error["loc"]
    for place, key in enumerate(loc):
        child = node.child(key) if node else None
        last = place == len(loc) - 1
        if child is not None:
            path.append(key)
            node = child
        elif last and error["type"] == "missing":
            path.append(key)
        elif key != "[key]" and union is None:
            union, tag = tuple(path), str(key)
    return _Located(error, tuple(path), union, tag)


def _prune(items: Sequence[_Located]) -> list[_Located]:
    """Leave out what only follows from another error.

    Of a union's members, the one whose shape fits the value speaks; those that refuse the value as a whole do
    not. A list counted too short because its elements failed is not short.
    """
    unions: dict[KeyPath, list[_Located]] = {}
    for item in items:
        if item.union is not None:
            unions.setdefault(item.union, []).append(item)
    kept = []
    for item in items:
        rivals = [o for o in unions.get(item.union, ()) if o.tag != item.tag] if item.union is not None else []
        if item.wrong_type and item.path == item.union and any(o.path != o.union or not o.wrong_type for o in rivals):
            continue
        if item.type == "too_short" and len(item.error["input"]) > item.error["ctx"]["actual_length"]:
            continue
        kept.append(item)
    return kept


def _problem(item: _Located, places: _Places, tree: Node) -> Problem:
    path, node = item.path, tree.at(item.path)
    place = places.find(path)
    if item.type == "extra_forbidden":
        return Problem(node.where, path, "unknown key", _unknown_key(places, path))
    if item.type == "missing":
        cure = f"add it ({place.help()})" if place else "add it"
        return Problem(node.where, path, "required key is missing", cure)
    if item.error["loc"][-1:] == ("[key]",):
        return _wrong_key(item, places, tree)
    if item.type in ("union_tag_invalid", "union_tag_not_found"):
        return _wrong_tag(item, place, tree)
    if item.type in ("value_error", "assertion_error"):
        what = item.error["msg"].split(", ", 1)[1]
        return Problem(node.where, path, what, _mentioned(what, place))
    if item.type in ("invalid", "unknown_name"):
        where = tree.at((*path, "name")).where if item.type == "unknown_name" else node.where
        return Problem(where, path, item.error["msg"], item.error["ctx"]["cure"])
    if item.type in _BOUNDS:
        sign, limit = _BOUNDS[item.type]
        most = f"{sign}{bound(item.error['ctx'][limit])}"
        return Problem(node.where, path, f"must be {most}, got {show(node.value)}", place.help() if place else "")
    if item.type == "string_too_long":
        most, got = item.error["ctx"]["max_length"], len(item.error["input"])
        return Problem(node.where, path, f"must have at most {most:,} characters, got {got:,}", "write a shorter one")
    if item.wrong_type and place is not None:
        return _wrong_type(item, place, node)
    return Problem(node.where, path, item.error["msg"], place.help() if place else "")


def _mentioned(what: str, place: Place | None) -> str:
    """A cure for a rule between keys: the keys it names, with what they may be."""
    blocks = place.blocks() if place else []
    names = [key for block in blocks for key in block.model_fields if key in re.findall(r"\w+", what)]
    helps = [f"{key}: {child.help()}" for key in names if place and (child := place.child(key))]
    return f"change {'; '.join(helps[:2])}" if helps else ""


def _wrong_type(item: _Located, place: Place, node: Node) -> Problem:
    value = node.plain()
    cure = place.help()
    words = _choices_or_words(place)
    got = show(value)
    if isinstance(value, str) and choices(place.annotation):
        near = nearest(value, [str(c) for c in choices(place.annotation)])
        cure = f"did you mean {near!r}? {cure}" if near else cure
    elif isinstance(value, float) and value.is_integer() and "whole number" in words:
        cure = f"write {value:.0f}; {cure}"
    elif isinstance(value, str) and "true or false" in words and value.lower() in ("yes", "on", "no", "off"):
        cure = f"write {'true' if value.lower() in ('yes', 'on') else 'false'} (YAML 1.2); {cure}"
    elif isinstance(value, str) and not node.raw and _is_number(value) and "number" in words:
        cure = f"remove the quotes; {cure}"
    elif node.raw and not isinstance(value, (str, list, dict)) and place.annotation is str:
        cure = f'write it in quotes: "{node.raw}"; {cure}'
    elif value is None and "a mapping" in words:
        cure = f"leave the key out, or give it keys: {', '.join(place.keys())}"
    return Problem(node.where, item.path, f"expected {words}, got {got}", cure)


def _choices_or_words(place: Place) -> str:
    return place.words() if place.element else place.words().partition(", >")[0].partition(", <")[0]


def _unknown_key(places: _Places, path: KeyPath) -> str:
    """A block inside this one where the key is valid, else the nearest key here, else a block elsewhere, else all keys
    of this one."""
    parent, key = places.find(path[:-1]), str(path[-1])
    keys = [*(parent.keys() if parent else []), *(places.beside if len(path) == 1 else [])]
    near, other = nearest(key, keys), elsewhere(places.root, key, path[:-1])
    block = f"{dotted(path[:-1])}."
    inside = other is not None and other.startswith(block) and "." in other.removeprefix(block)
    if near is not None and (not inside or near == SYNONYMS.get(key)):
        place = parent.child(near) if parent else None
        return f"did you mean `{near}`? ({place.help() if place else ''})".replace(" ()", "")
    if other is not None:
        return f"did you mean `{other}`?"
    return f"valid keys here: {', '.join(keys)}" if keys else "remove it"


def _wrong_key(item: _Located, places: _Places, tree: Node) -> Problem:
    """A key of a free mapping (a role) that is not one of the allowed."""
    key, parent = str(item.path[-1]), places.find(item.path[:-1])
    keys = parent.keys() if parent else []
    near = nearest(key, keys)
    cure = (f"did you mean `{near}`? " if near else "") + f"known: {', '.join(keys)}"
    kind = "role" if item.path[-2:-1] == ("roles",) else "key"
    return Problem(tree.at(item.path).where, item.path, f"unknown {kind} `{cut(key)}`", cure)


def _wrong_tag(item: _Located, place: Place | None, tree: Node) -> Problem:
    context = item.error["ctx"]
    key = context["discriminator"].strip("'")
    known = [str(v) for block in (place.blocks() if place else []) for v in choices(block.model_fields[key].annotation)]
    path = (*item.path, key)
    if item.type == "union_tag_not_found":
        return Problem(tree.at(path).where, path, "required key is missing", f"add it: one of {', '.join(known)}")
    near = nearest(str(context["tag"]), known)
    cure = f"did you mean {near!r}? " if near else ""
    return Problem(
        tree.at(path).where, path, f"unknown {key} {quoted(str(context['tag']))}", f"{cure}known: {', '.join(known)}"
    )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _file_order(where: str, path: KeyPath) -> tuple[str, int, str]:
    name, _, line = where.rpartition(":")
    return (name, int(line), dotted(path)) if line.isdigit() else (where, 0, dotted(path))
