"""Scores on disk: ``scores.json`` for people and reports, ``samples.npz`` for a later paired comparison."""

from __future__ import annotations

import json
import zipfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from embedkit.errors import DataError
from embedkit.types import Interval, Scores, TaskScore

JSON, UNITS = "scores.json", "samples.npz"
FORMAT = 1


def plain(scores: Scores) -> dict[str, Any]:
    """Scores as JSON-ready data, without the per-unit arrays."""
    tasks = tuple(replace(task, units={}) for task in scores.tasks)
    found = asdict(replace(scores, tasks=tasks))
    for task in found["tasks"]:
        del task["units"]
    return {"format": FORMAT, **found, "tasks": list(found["tasks"])}


def write_scores(scores: Scores, out_dir: Path) -> Path:
    """Write both files, each under a temporary name first; returns the path of ``scores.json``."""
    out_dir.mkdir(parents=True, exist_ok=True)
    units = {f"{i}/{name}": values for i, task in enumerate(scores.tasks) for name, values in task.units.items()}
    part = out_dir / f"{UNITS}.part"
    with part.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **units)
    part.replace(out_dir / UNITS)
    part = out_dir / f"{JSON}.part"
    part.write_text(json.dumps(plain(scores), indent=2, allow_nan=False) + "\n", encoding="utf-8")
    part.replace(out_dir / JSON)
    return out_dir / JSON


def load_scores(folder: Path) -> Scores:
    """Read what `write_scores` wrote; without ``samples.npz`` the scores can be shown but not compared.

    Raises:
        DataError: no such file, or not one of embedkit's.
    """
    path = folder / JSON if folder.is_dir() else folder
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if found.pop("format") != FORMAT:
            raise DataError("written by another version of embedkit", str(path), "evaluate again")
        tasks = [TaskScore(**{**task, "interval": _interval(task["interval"])}) for task in found.pop("tasks")]
        units = _units(path.parent / UNITS, len(tasks))
        whole = tuple(replace(task, units=own) for task, own in zip(tasks, units, strict=True))
        return Scores(**{**found, "tasks": whole, "interval": _interval(found["interval"])})
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", str(path), "give the folder of an evaluation") from error
    except (ValueError, KeyError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise DataError(f"not the scores of an evaluation: {error}", str(path), "evaluate again") from error


def _interval(found: dict[str, float] | None) -> Interval | None:
    return None if found is None else Interval(**found)


def _units(path: Path, count: int) -> list[dict[str, np.ndarray]]:
    units: list[dict[str, np.ndarray]] = [{} for _ in range(count)]
    if path.is_file():
        with np.load(path, allow_pickle=False) as stored:
            for key in stored.files:
                index, _, name = key.partition("/")
                units[int(index)][name] = stored[key]
    return units
