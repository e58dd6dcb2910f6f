"""What a run is made from besides its recipe: data, evaluation files, models; compared before a run goes on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from embedkit.disk import paths
from embedkit.errors import TrainingError
from embedkit.evaluation import suite as suites
from embedkit.evaluation.files import file_digest
from embedkit.model.reading.resolve import local_copy
from embedkit.recipe.base import Block
from embedkit.recipe.reading.settle import places
from embedkit.recipe.schema import Source
from embedkit.recipe.suite import Suite
from embedkit.run.state import Run

Digests = dict[str, dict[str, str]]
"""Key of the recipe -> name of a file there -> digest of what it holds."""

_PLACES: dict[str, Any] = {"files": True, "folder": True, "data": {"files", "train", "folder"}}
"""Keys of a task that lead to its files: what these hold counts."""
_WEIGHTS, _PICKLED = ".safetensors", ".bin"
_OF_A_MODEL = frozenset({_WEIGHTS, _PICKLED, ".json", ".txt", ".model", ".jinja", ".py"})
_SHOWN = 5


def compare(run: Run, resume: bool) -> None:
    """Record what the run is made from; where it goes on, it must be what it was when the run began.

    Raises:
        TrainingError: something is not what it was: which file, both digests.
        DataError: an evaluation file is missing or wrong.
    """
    if run.first:
        found = digests(run)
        if resume and run.folder.trained:
            _refuse_other(run, {} if run.known is None else run.known.inputs, found)
        run.record.inputs = found
    run.comm.barrier()


def digests(run: Run) -> Digests:
    """Digests of everything that the recipe names; of what this machine does not hold there is none."""
    found: Digests = {}
    for index, source in enumerate(run.sources):
        found[f"data.sources.{index}"] = dict(source.files) or {source.name: source.digest}
    for key in ("suite", "during"):
        reference = getattr(run.recipe.eval, key)
        if reference is not None:
            found[f"eval.{key}"] = _of_suite(run, reference)
    for where, path, kind, block, part in places(run.recipe):
        key = ".".join(map(str, (*where, part) if part else where))
        if isinstance(block, Source) or key == "eval.data":
            continue
        if kind in ("file", "files"):
            found[key] = {_name(file): file_digest(file) for file in paths.locate(path, "files").places}
        elif kind == "folder" and (folder := _local_copy(path, block)) is not None:
            found[key] = _of_model(folder)
    return {key: names for key, names in found.items() if names}


def _local_copy(model: str, block: Block) -> Path | None:
    return local_copy(model, getattr(block, "revision", None))


def _of_suite(run: Run, reference: str | Suite) -> dict[str, str]:
    """The files of its tasks, or what they hold where they are made, and what the suite says about them."""
    suite, data = run.measuring.data(reference)
    found: dict[str, str] = {}
    for task, own in zip(suite.tasks, data, strict=True):
        files = suites.digests(task)
        found |= files or {task.name: own.digest}
        said = task.model_dump(mode="json", exclude=_PLACES)
        found[f"task {task.name}"] = _digest(json.dumps(said, sort_keys=True))
    return found


def _of_model(folder: Path) -> dict[str, str]:
    """The files of a model's folder that make its embeddings; pickled weights where there are no others."""
    files = [
        path
        for path in sorted(folder.rglob("*"))
        if path.suffix in _OF_A_MODEL
        and path.is_file()
        and not any(part.startswith((".", "checkpoint-")) for part in path.relative_to(folder).parts)
    ]
    safe = {path.parent for path in files if path.suffix == _WEIGHTS}
    wanted = [path for path in files if path.suffix != _PICKLED or path.parent not in safe]
    return {path.relative_to(folder).as_posix(): file_digest(path) for path in wanted}


def _name(file: Path) -> str:
    return f"{file.parent.name}/{file.name}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _refuse_other(run: Run, was: Mapping[str, Mapping[str, str]], now: Digests) -> None:
    if not was:
        run.say("warning      the record does not say what the run was made from; nothing is compared")
        return
    lines = []
    for key in {**was, **now}:
        old, new = was.get(key, {}), now.get(key, {})
        for name in sorted(old.keys() | new.keys()):
            if old.get(name) != new.get(name):
                lines.append(f"{name} ({key}) had digest {_shown(old.get(name))}, has {_shown(new.get(name))} now")
    if lines:
        more = [f"and {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else []
        raise TrainingError(
            "the run was made from something else: " + "; ".join([*lines[:_SHOWN], *more]),
            str(run.folder.root),
            "put back what was there and resume, or train into a new folder (--out)",
        )


def _shown(digest: str | None) -> str:
    return "none (not there)" if digest is None else digest[:22]
