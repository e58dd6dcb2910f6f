"""From a tree with `stages` to a tree for each of them, with every value keeping its place."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from embedkit.errors import RecipeError
from embedkit.foreign.quoting import did_you_mean, listed, quoted
from embedkit.recipe.reading.fields import show
from embedkit.recipe.reading.merge import apply_overrides, merge
from embedkit.recipe.reading.problems import Problem
from embedkit.recipe.reading.tree import Node
from embedkit.recipe.schema import Recipe
from embedkit.recipe.stages import START, Merge, Stage

KEY = "stages"
OWN = ("name", "from", "merge")
"""Keys of a stage that no recipe has."""
_NAME = re.compile(Stage.model_fields["name"].metadata[0].pattern)


@dataclass(frozen=True)
class Part:
    """A stage of a file.

    Attributes:
        name: of the stage.
        tree: its recipe, written over the keys beside `stages`; of a merge, over the recipe of the stage before it.
        merge: its `merge` block, where it has one.
        begins: number of the stage whose model it begins with; None where it has a base of its own.
    """

    name: str
    tree: Node
    merge: Node | None
    begins: int | None


def parts(tree: Node, overrides: Sequence[str]) -> list[Part]:
    """The stages of a tree.

    Args:
        tree: what was written, extended recipes included.
        overrides: ``stages.NAME.key=value`` reach one stage, all others every one, whatever it says itself.

    Raises:
        RecipeError: `stages` is no list of mappings with names of their own, or an override names none of them.
    """
    written = tree.value[KEY]
    names = _names(written)
    common = replace(tree, value={key: node for key, node in tree.value.items() if key != KEY})
    mine: dict[str, list[str]] = {name: [] for name in names}
    shared: list[str] = []
    for text in overrides:
        if text.split("=")[0].strip().split(".")[0] == KEY:
            name, rest = _addressed(text, names)
            mine[name].append(rest)
        else:
            shared.append(text)
    found: list[Part] = []
    for name, stage in zip(names, written.value, strict=True):
        own = replace(stage, value={key: node for key, node in stage.value.items() if key not in OWN})
        merging = stage.child("merge")
        below = found[-1].tree if merging is not None and found else common
        of_merge = [text.removeprefix("merge.") for text in mine[name] if text.startswith("merge.")]
        of_recipe = [text for text in mine[name] if not text.startswith("merge.")]
        whole = apply_overrides(apply_overrides(merge(below, own, Recipe), shared, Recipe), of_recipe, Recipe)
        if merging is not None:
            merging = apply_overrides(merging, of_merge, Merge)
            _refuse_later(merging, names[: len(found)])
        own_base = any(_names_base(text) for text in mine[name]) or _child(own, "model", "base") is not None
        begins = _begins(stage, names[: len(found)], own_base)
        found.append(Part(name, whole, merging, begins))
    return found


@contextmanager
def naming(stage: str) -> Iterator[None]:
    """Errors in the recipe of a stage say which."""
    try:
        yield
    except RecipeError as error:
        raise RecipeError(f"stage {stage}: {error.what}", error.where, error.cure, error.below) from error


def _names(written: Node) -> list[str]:
    if not isinstance(written.value, list) or not written.value:
        raise Problem(written.where, (KEY,), f"expected a list of stages, got {show(written.plain())}", _CURE).error()
    names: list[str] = []
    for number, stage in enumerate(written.value):
        name = stage.child("name")
        if name is None or not isinstance(name.value, str) or not _NAME.fullmatch(name.value):
            what = "a stage needs a name of small letters, digits and hyphens"
            raise Problem((name or stage).where, (KEY, number, "name"), what, _CURE).error()
        if name.value in names:
            what = f"two stages are called {quoted(name.value)}"
            raise Problem(name.where, (KEY, number, "name"), what, "give each a name of its own").error()
        names.append(name.value)
    return names


_CURE = "write e.g. `- {name: weak, train: {steps: 1000}}`"


def _addressed(text: str, names: Sequence[str]) -> tuple[str, str]:
    """Name of the stage that an override is for, and the override without it."""
    key, equals, value = text.partition("=")
    _, name, *inner = [*key.strip().split(".", 2), "", ""][:3]
    rest = f"{inner[0]}{equals}{value}"
    name = names[int(name)] if name.isdecimal() and int(name) < len(names) else name
    if name not in names or not inner[0]:
        what = f"no such stage: {quoted(name)}" if name not in names else "names a stage and no key of it"
        near = did_you_mean(name, names)
        raise RecipeError(
            what, f"override {text}", f"{near}the stages are {listed(names)}; e.g. stages.{names[0]}.train.steps=10"
        )
    return name, rest


def _begins(stage: Node, earlier: Sequence[str], own_base: bool) -> int | None:
    node = stage.child("from")
    if node is None:
        return len(earlier) - 1 if earlier and not own_base else None
    if own_base:
        cure = "keep one of the two"
        raise Problem(node.where, (KEY, "from"), "the stage has a model.base of its own as well", cure).error()
    if node.value == START:
        return None
    if node.value not in earlier:
        cure = f"name one of {listed([*earlier, START])}"
        raise Problem(node.where, (KEY, "from"), f"{show(node.plain())} is no earlier stage", cure).error()
    return list(earlier).index(node.value)


def _refuse_later(merging: Node, earlier: Sequence[str]) -> None:
    of = merging.child("of")
    for node in of.value if of is not None and isinstance(of.value, list) else ():
        if node.value not in (*earlier, START):
            what = f"{show(node.plain())} is no earlier stage"
            cure = f"name some of {listed([*earlier, START])}"
            raise Problem(node.where, (KEY, "merge", "of"), what, cure).error()


def _names_base(override: str) -> bool:
    return override.partition("=")[0].strip() == "model.base"


def _child(tree: Node, *path: str) -> Node | None:
    for key in path:
        found = tree.child(key)
        if found is None:
            return None
        tree = found
    return tree
