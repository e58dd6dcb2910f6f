"""The paths of a recipe, settled: each still reads as written, and knows what can be opened.

A field says that it is a path with `embedkit.recipe.base.Leads`, or holds some with `Holds`; options of plug-ins may do
the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from pydantic.fields import FieldInfo

from embedkit.disk import paths
from embedkit.recipe.base import Block, Holds, Leads
from embedkit.recipe.reading.tree import KeyPath
from embedkit.recipe.schema import Recipe
from embedkit.recipe.suite import Suite

B = TypeVar("B", bound=Block)


def settle(block: B, base_dir: Path | None = None) -> B:
    """The same recipe, or block of one, with every path settled; those that are settled already stay.

    Args:
        block: as read, or made in Python.
        base_dir: folder of the recipe, tried before the working folder; None where there is none.
    """
    folders = paths.starts(base_dir)
    data = block.eval.data if isinstance(block, Recipe) else None
    found: B = _settled(block, folders, None if data is None else paths.locate(data, "folder", folders).place)
    return found


def settle_suite(suite: Suite, data_dir: Path | None, folders: Sequence[Path]) -> Suite:
    """A suite with its files and folders settled; what is nowhere leads to no place.

    Args:
        suite: the suite.
        data_dir: looked in first: ``sts/STS12.tsv`` is found there under its whole path or without leading folders, so
            it may be the ``sts`` folder itself.
        folders: looked in next, in order of preference.
    """

    def located(name: str) -> paths.Located:
        return name if isinstance(name, paths.Located) else _locate(name, data_dir, folders)

    return suite.model_copy(update={"tasks": tuple(task.moved(located) for task in suite.tasks)})


class Place(NamedTuple):
    """A path below a block.

    Attributes:
        key: of the field it stands in.
        path: as written, or settled.
        kind: what it leads to.
        block: that the field is of.
        part: its name within a text that holds more than a path.
    """

    key: KeyPath
    path: str
    kind: paths.Kind
    block: Block
    part: str = ""


def marker(field: FieldInfo | None) -> Leads | Holds | None:
    """How a field holds paths; None for a field that holds none."""
    return next((m for m in (field.metadata if field else ()) if isinstance(m, (Leads, Holds))), None)


def places(value: Any, key: KeyPath = ()) -> Iterator[Place]:
    """Every path below a block; not those of suites."""
    if isinstance(value, tuple):
        for index, item in enumerate(value):
            yield from places(item, (*key, index))
    if not isinstance(value, Block) or isinstance(value, Suite):
        return
    for name, field in type(value).model_fields.items():
        item, mark = getattr(value, name), marker(field)
        if mark is None:
            yield from places(item, (*key, name))
            continue
        texts = (
            {(*key, name, i): text for i, text in enumerate(item)} if isinstance(item, tuple) else {(*key, name): item}
        )
        for own, text in texts.items():
            if isinstance(text, str):
                yield from _places_in(own, text, mark, value)


def _places_in(key: KeyPath, text: str, mark: Leads | Holds, block: Block) -> Iterator[Place]:
    if isinstance(mark, Leads):
        yield Place(key, text, mark.kind, block)
        return
    inside = text.inside if isinstance(text, paths.Holding) else {}
    for part, (path, kind) in mark.paths_of(text).items():
        yield Place(key, inside.get(part, path), kind, block, part)


def _settled(value: Any, folders: Sequence[Path], data_dir: Path | None, mark: Leads | Holds | None = None) -> Any:
    if isinstance(value, Suite):
        return settle_suite(value, data_dir, folders)
    if isinstance(value, Block):
        changed = {}
        for name, field in type(value).model_fields.items():
            old = getattr(value, name)
            new = _settled(old, folders, data_dir, marker(field))
            if new is not old:
                changed[name] = new
        return value.model_copy(update=changed) if changed else value
    if isinstance(value, tuple):
        items = tuple(_settled(item, folders, data_dir, mark) for item in value)
        return value if all(new is old for new, old in zip(items, value, strict=True)) else items
    if isinstance(value, str) and isinstance(mark, Leads):
        return paths.locate(value, mark.kind, folders)
    if isinstance(value, str) and isinstance(mark, Holds) and not isinstance(value, paths.Holding):
        inside = {part: paths.locate(path, kind, folders) for part, (path, kind) in mark.paths_of(value).items()}
        return paths.Holding(value, inside) if inside else value
    return value


def _locate(name: str, data_dir: Path | None, folders: Sequence[Path]) -> paths.Located:
    path = paths.at_home(name)
    wanted = [folder / path for folder in folders]
    if data_dir is not None and not path.is_absolute():
        below = [part for part in path.parts if part != ".."]
        wanted = [*(data_dir.joinpath(*below[i:]) for i in range(len(below))), *wanted]
    candidates = [c for place in wanted for c in (place, Path(f"{place}.gz"))]
    found = [c.resolve() for c in candidates if paths.is_there(c)][:1]
    return paths.Located(name, found, [folder for folder in (data_dir, *folders) if folder is not None])
