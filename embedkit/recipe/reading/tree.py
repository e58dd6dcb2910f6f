"""YAML 1.2 as a tree in which every key remembers the line it stands on.

Stricter than a YAML loader: a key given twice, a key that is not text, a tag or a merge key is a problem with a line.
Plain scalars follow YAML 1.2: ``1e-5`` is a number; ``off``, ``1:30`` and ``2020-01-01`` are text.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode

from embedkit.errors import RecipeError
from embedkit.foreign.limits import DIGITS, RECIPE_BYTES, SHOWN_LINE
from embedkit.foreign.quoting import cut
from embedkit.recipe.reading.composing import composed
from embedkit.recipe.reading.problems import Problem, raise_problems

KeyPath: TypeAlias = tuple[str | int, ...]
_TAG = "tag:yaml.org,2002:"
_TOO_LONG, _QUOTE = f"a number of more than {DIGITS} digits", "put it in quotes if it is a text"
_TEXT = {_TAG + name for name in ("str", "timestamp", "value", "merge")}


@dataclass(frozen=True)
class Node:
    """A value and where it was written.

    Attributes:
        value: a scalar, a list of nodes, or a dict of nodes.
        where: ``file:line`` of the value's key, or ``override key=value``.
        raw: a plain scalar as it was written, before YAML read it.
    """

    value: Any
    where: str
    raw: str = ""

    def plain(self) -> Any:
        """The value without places."""
        if isinstance(self.value, dict):
            return {key: child.plain() for key, child in self.value.items()}
        if isinstance(self.value, list):
            return [child.plain() for child in self.value]
        return self.value

    def child(self, key: str | int) -> Node | None:
        """The node under a key or an index; None where there is none."""
        if isinstance(self.value, dict):
            return self.value.get(key)
        if isinstance(self.value, list) and isinstance(key, int) and 0 <= key < len(self.value):
            child: Node = self.value[key]
            return child
        return None

    def at(self, path: KeyPath) -> Node:
        """The node at `path`, or its nearest ancestor that exists."""
        node = self
        for key in path:
            child = node.child(key)
            if child is None:
                break
            node = child
        return node


def read_tree(path: Path, name: str) -> Node:
    """Parse a YAML file whose top level is a mapping.

    Args:
        path: the file.
        name: how messages call it.

    Raises:
        RecipeError: unreadable, not UTF-8, a syntax error, or any problem named in the module's docstring.
    """
    node = parse(read_text(path, name), name)
    if not isinstance(node.value, dict):
        raise RecipeError("not a mapping of keys to values", f"{name}:1", "start with a block such as `model:`")
    return node


def read_text(path: Path, name: str) -> str:
    """The text of a YAML file; `name` stands for the file in messages.

    Raises:
        RecipeError: unreadable, not UTF-8.
    """
    try:
        if path.stat().st_size > RECIPE_BYTES:
            raise RecipeError(
                f"larger than {RECIPE_BYTES:,} bytes", name, "a recipe is YAML; data goes into other files"
            )
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise RecipeError(f"not UTF-8 (byte {error.start})", name, "save the file as UTF-8") from error
    except OSError as error:
        raise RecipeError(f"cannot be read: {error.strerror}", name, "check the path and its permissions") from error


def parse(text: str, name: str) -> Node:
    """Parse YAML text; `name` stands for the file in messages.

    Raises:
        RecipeError: see `read_tree`.
    """
    try:
        root = composed(text, name)
    except YAMLError as error:
        raise _syntax_error(error, name) from error
    if root is None:
        raise RecipeError("empty", name, "write at least `data: {sources: [...]}`")
    builder = _Builder(name)
    node = builder.node(root, f"{name}:{root.start_mark.line + 1}")
    raise_problems(builder.problems)
    return node


def override_value(text: str, where: str) -> Node:
    """The value of an override: a quoted scalar, a flow list or mapping, else one plain scalar to the end.

    ``: `` and `` #`` have no meaning in a plain scalar here, so a prompt such as ``query: `` needs no quotes.

    Raises:
        RecipeError: broken quotes or brackets.
    """
    if text[:1] in tuple("[{\"'"):
        try:
            root = composed(text, where, lines=False)
        except YAMLError as error:
            what = getattr(error, "problem", None) or "cannot be parsed"
            raise RecipeError(f"not a YAML value: {what}", where, "close the quotes or brackets") from error
        builder = _Builder(where, lines=False)
        node = builder.node(root, where)
        raise_problems(builder.problems)
        return node
    stripped = text.strip()
    tag = YAML(typ="safe", pure=True).resolver.resolve(ScalarNode, stripped, (True, False))
    if _has_too_many_digits(str(tag), stripped):
        raise RecipeError(_TOO_LONG, where, _QUOTE)
    return Node(text if str(tag) in _TEXT else _scalar(str(tag), stripped), where, text)


class _Builder:
    """Turns composed YAML nodes into a `Node` tree and collects what is wrong on the way."""

    def __init__(self, name: str, *, lines: bool = True) -> None:
        self.name, self.lines = name, lines
        self.problems: list[Problem] = []
        self._open: set[int] = set()

    def node(self, node: Any, where: str) -> Node:
        if id(node) in self._open:
            self._add(node, "an alias that contains itself", "write the value out")
            return Node(None, where)
        self._open.add(id(node))
        try:
            return self._node(node, where)
        finally:
            self._open.discard(id(node))

    def _node(self, node: Any, where: str) -> Node:
        tag = str(node.tag)
        if isinstance(node, MappingNode) and tag == _TAG + "map":
            return Node(self._mapping(node), where)
        if isinstance(node, SequenceNode) and tag == _TAG + "seq":
            return Node([self.node(item, self._place(item)) for item in node.value], where)
        if isinstance(node, ScalarNode) and (tag in _TEXT or tag[len(_TAG) :] in ("null", "bool", "int", "float")):
            if _has_too_many_digits(tag, node.value):
                self._add(node, _TOO_LONG, _QUOTE)
                return Node(None, where)
            plain = not node.style
            return Node(_scalar(tag, node.value), where, node.value if plain else "")
        self._add(node, f"tag {cut(tag.replace(_TAG, '!!'))} is not allowed", "write plain YAML without tags")
        return Node(None, where)

    def _mapping(self, node: MappingNode) -> dict[str, Node]:
        found: dict[str, Node] = {}
        for key, value in node.value:
            tag = str(key.tag)
            if tag == _TAG + "merge":
                self._add(key, "merge keys `<<` are not YAML 1.2", "use `extends:`, or repeat the keys")
            elif not isinstance(key, ScalarNode) or tag not in _TEXT:
                shown = key.value if isinstance(key, ScalarNode) else "a list or mapping"
                self._add(key, f"the key {cut(shown)} is not text", "quote it")
            elif key.value in found:
                first = found[key.value].where
                self._add(key, f"key `{cut(key.value)}` is given twice, first at {first}", "keep one of the two")
            else:
                found[key.value] = self.node(value, self._place(key))
        return found

    def _place(self, node: Any) -> str:
        return f"{self.name}:{node.start_mark.line + 1}" if self.lines else self.name

    def _add(self, node: Any, what: str, cure: str) -> None:
        self.problems.append(Problem(self._place(node), (), what, cure))


def _has_too_many_digits(tag: str, text: str) -> bool:
    return len(text) > DIGITS and tag in (_TAG + "int", _TAG + "float")


def _scalar(tag: str, text: str) -> Any:
    """The Python value of a scalar; text where the tag's form is not YAML 1.2 (a ``%YAML 1.1`` document)."""
    kind, lower = tag[len(_TAG) :], text.lower()
    try:
        if kind == "null":
            return None
        if kind == "bool":
            return {"true": True, "false": False}[lower]
        if kind == "int":
            return int(text, 0) if lower.lstrip("+-").startswith(("0x", "0o", "0b")) else int(text)
        if kind == "float":
            return float(lower.replace(".inf", "inf").replace(".nan", "nan"))
    except (KeyError, ValueError):
        return text
    return text


def _syntax_error(error: YAMLError, name: str) -> RecipeError:
    mark = (error.problem_mark or error.context_mark) if isinstance(error, MarkedYAMLError) else None
    where = f"{name}:{mark.line + 1}" if mark else name
    what = cut(str(getattr(error, "problem", None) or error).strip().splitlines()[0], SHOWN_LINE)
    cure = "check the indentation, brackets and quotes on this line and the one before"
    if "\\t" in what or "\t" in what:
        cure = "indent with spaces, not tabs"
    elif "mapping values are not allowed" in what:
        cure = "a value that contains `: ` needs quotes; a nested key belongs on a line of its own, indented"
    return RecipeError(f"not valid YAML: {what}", where, cure)
