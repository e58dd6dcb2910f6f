"""The paths of a recipe, settled: each still reads as written, and knows what can be opened.

A field says that it is a path with `embedkit.recipe.base.Leads`; options of plug-ins may do the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic.fields import FieldInfo

from embedkit.disk import paths
from embedkit.recipe.base import Block, Leads
from embedkit.recipe.reading.tree import KeyPath
from embedkit.recipe.schema import Recipe
from embedkit.recipe.suite import RetrievalTask, StsTask, Suite

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

    tasks: list[StsTask | RetrievalTask] = []
    for task in suite.tasks:
        if isinstance(task, StsTask):
            tasks.append(task.model_copy(update={"files": tuple(located(file) for file in task.files)}))
        elif task.folder is not None:
            tasks.append(task.model_copy(update={"folder": located(task.folder)}))
        else:
            tasks.append(task)
    return suite.model_copy(update={"tasks": tuple(tasks)})


def marker(field: FieldInfo | None) -> Leads | None:
    """What a field's paths lead to; None for a field that holds none."""
    return next((m for m in (field.metadata if field else ()) if isinstance(m, Leads)), None)


def places(value: Any, key: KeyPath = ()) -> Iterator[tuple[KeyPath, str, Leads, Block]]:
    """(key path, path, what it leads to, the block it stands in) of every path below a block; not those of suites."""
    if isinstance(value, tuple):
        for index, item in enumerate(value):
            yield from places(item, (*key, index))
    if not isinstance(value, Block) or isinstance(value, Suite):
        return
    for name, field in type(value).model_fields.items():
        item, leads = getattr(value, name), marker(field)
        if leads is None:
            yield from places(item, (*key, name))
        else:
            for path in item if isinstance(item, tuple) else (item,):
                if isinstance(path, str):
                    yield (*key, name), path, leads, value


def _settled(value: Any, folders: Sequence[Path], data_dir: Path | None, leads: Leads | None = None) -> Any:
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
        items = tuple(_settled(item, folders, data_dir, leads) for item in value)
        return value if all(new is old for new, old in zip(items, value, strict=True)) else items
    if isinstance(value, str) and leads is not None:
        return paths.locate(value, leads.kind, folders)
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
