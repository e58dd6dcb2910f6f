"""YAML text as composed nodes, within bounds: neither nesting nor repeated anchors can cost memory or time."""

from __future__ import annotations

from typing import Any, NamedTuple

from ruamel.yaml import YAML
from ruamel.yaml.events import CollectionEndEvent, CollectionStartEvent, NodeEvent
from ruamel.yaml.nodes import MappingNode, ScalarNode

from embedkit.errors import RecipeError
from embedkit.foreign.limits import CHARACTERS, DEPTH, NODES

_CURE = "a recipe names its data in files: `path: FILE`"


def composed(text: str, name: str, *, lines: bool = True) -> Any:
    """The root node of a YAML document; None for an empty one.

    Args:
        text: the document.
        name: stands for its file in messages.
        lines: messages add the line.

    Raises:
        RecipeError: deeper than `DEPTH`, more than `NODES` values or `CHARACTERS` characters, those of an anchor
            counted wherever it is repeated.
        YAMLError: not YAML.
    """

    def refuse(what: str, mark: Any) -> RecipeError:
        return RecipeError(what, f"{name}:{mark.line + 1}" if lines else name, _CURE)

    depth = count = 0
    for event in YAML(typ="safe", pure=True).parse(text):  # one after the other, so nothing is built yet
        depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
        count += isinstance(event, NodeEvent)
        if depth > DEPTH:
            raise refuse(f"lists and mappings more than {DEPTH} levels deep", event.start_mark)
        if count > 2 * NODES:  # keys are nodes here
            raise refuse(f"more than {NODES:,} values", event.start_mark)
    root = YAML(typ="safe", pure=True).compose(text)
    if root is None:
        return None
    size = _size(root, {})
    if size.depth > DEPTH:
        raise refuse(f"repeated anchors nest it {size.depth:,} levels deep, more than {DEPTH}", root.start_mark)
    if size.values > NODES or size.characters > CHARACTERS:
        what = f"with repeated anchors {size.values:,} values and {size.characters:,} characters"
        raise refuse(f"{what}, more than {NODES:,} or {CHARACTERS:,}", root.start_mark)
    return root


class _Size(NamedTuple):
    """What is below a node, shared nodes counted at each place."""

    values: int = 1
    characters: int = 0
    depth: int = 0


def _size(node: Any, known: dict[int, _Size]) -> _Size:
    """The size of a node. An alias stands after its anchor, so each node is measured once, in the document's order."""
    if id(node) in known:
        return known[id(node)]
    known[id(node)] = _Size()  # met again below itself: reported where the tree is built
    if isinstance(node, ScalarNode):
        size = _Size(characters=len(node.value))
    else:
        pairs = node.value if isinstance(node, MappingNode) else [(None, item) for item in node.value]
        inside = [_size(value, known) for _, value in pairs]
        keys = sum(len(key.value) for key, _ in pairs if isinstance(key, ScalarNode))
        size = _Size(
            1 + sum(s.values for s in inside),
            keys + sum(s.characters for s in inside),
            1 + max((s.depth for s in inside), default=0),
        )
    known[id(node)] = size
    return size
