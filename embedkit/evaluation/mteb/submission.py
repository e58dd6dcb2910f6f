"""Whether a folder of results can be submitted to mteb's leaderboard, as far as mteb's own reader can tell."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embedkit.errors import DataError, EmbedkitError
from embedkit.evaluation.mteb.catalogue import is_official, mteb, undisturbed
from embedkit.evaluation.mteb.running import META, SETTINGS
from embedkit.foreign.parsing import from_json
from embedkit.foreign.quoting import listed

ROOT = "results"


@dataclass(frozen=True)
class Checked:
    """One model's results.

    Attributes:
        model, revision: as mteb reads them.
        tasks: names of those that are complete.
        problems: what speaks against a submission.
    """

    model: str
    revision: str
    tasks: tuple[str, ...]
    problems: tuple[str, ...]


def check(folder: Path) -> list[Checked]:
    """Read every result of a folder as mteb would.

    Args:
        folder: what ``eval --out`` wrote, or its ``mteb``, or that one's ``results``.

    Raises:
        DataError: no results are there.
        RecipeError: mteb is not installed.
    """
    root = _root(folder)
    places = sorted({path.parent for path in root.glob("*/*/*.json") if path.name != META})
    if not places:
        raise DataError("no results of mteb are there", str(folder), "give the folder of `embedkit eval --out`")
    with undisturbed():
        package = mteb()
        return [_checked(package, place) for place in places]


def refuse(found: list[Checked]) -> None:
    """End with an error where something speaks against a submission.

    Raises:
        EmbedkitError: lists it.
    """
    problems = [f"{one.model} {one.revision[:12]}: {problem}" for one in found for problem in one.problems]
    if problems:
        cure = "mend these; what is measured already is not measured again"
        raise EmbedkitError("the results cannot be submitted as they are", "", cure, problems)


def _root(folder: Path) -> Path:
    for place in (folder / "mteb" / ROOT, folder / ROOT, folder):
        if place.is_dir():
            return place
    raise DataError("there is no such folder", str(folder), "give the folder of `embedkit eval --out`")


def _checked(package: Any, place: Path) -> Checked:
    from mteb.models import ModelMeta

    problems, tasks = [], []
    name, revision = place.parent.name.replace("__", "/", 1), place.name
    try:
        meta = ModelMeta.model_validate_json_resolved((place / META).read_text(encoding="utf-8"))
        name, revision = meta.name, meta.revision
        if (meta.model_name_as_path(), revision) != (place.parent.name, place.name):
            problems.append(f"{META} is of {name} at {revision}, the folder of another")
    except OSError:
        problems.append(f"{META} is missing: evaluate again")
    except ValueError as error:
        problems.append(f"{META} is not mteb's: {error}")
    if name.startswith("local/"):
        problems.append("the model has no name on the Hub: publish it, then evaluate it by its id")
    settings = _settings(place / SETTINGS)
    for path in sorted(place.glob("*.json")):
        if path.name == META:
            continue
        wrong = list(_wrong(package, path))
        if not wrong and path.stem not in settings:
            wrong.append(f"{SETTINGS} has no line about it: evaluate again")
        problems += [f"{path.stem}: {what}" for what in wrong]
        tasks += [] if wrong else [path.stem]
    return Checked(name, revision, tuple(tasks), tuple(problems))


def _wrong(package: Any, path: Path) -> list[str]:
    try:
        result = package.TaskResult.from_disk(path)
    except Exception as error:  # whatever its reader says
        return [f"mteb cannot read it: {type(error).__name__}: {error}"]
    if not is_official(result.task_name):
        return ["no task of mteb's: leave it out"]
    task = package.get_task(result.task_name)
    found = []
    if result.dataset_revision != task.metadata.revision:
        found.append(f"measured on the data {result.dataset_revision}, the task's is {task.metadata.revision}")
    missing = result.get_missing_evaluations(task)
    if missing:
        parts = [f"{split}/{subset}" for split, subsets in missing.items() for subset in subsets]
        found.append(f"{len(parts)} parts are missing: {listed(parts)}")
    scores = [entry["main_score"] for entries in result.scores.values() for entry in entries]
    if not all(math.isfinite(score) for score in scores):
        found.append("a score is not a number")
    return found


def _settings(path: Path) -> set[str]:
    """The tasks that ``run_settings.jsonl`` is about."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        return {str(from_json(line)["task"]) for line in lines if line.strip()}
    except (OSError, ValueError, KeyError, TypeError):
        return set()
