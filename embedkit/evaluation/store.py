"""Scores on disk: ``scores.json`` for people and reports, ``samples.npz`` for a later paired comparison."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from embedkit.disk import files
from embedkit.errors import DataError
from embedkit.foreign.showing import as_json
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
    """Write both files; returns the path of ``scores.json``, which names the hash of the other.

    Raises:
        WriteError: they cannot be written.
    """
    units = {f"{i}/{name}": values for i, task in enumerate(scores.tasks) for name, values in task.units.items()}
    packed = io.BytesIO()
    np.savez_compressed(packed, allow_pickle=False, **units)
    found = {**plain(scores), "samples": hashlib.sha256(packed.getvalue()).hexdigest()}
    text = as_json(found, indent=2, allow_nan=False) + "\n"
    files.write_bytes(out_dir / UNITS, packed.getvalue())
    files.write_text(out_dir / JSON, text)
    return out_dir / JSON


def load_scores(folder: Path) -> Scores:
    """Read what `write_scores` wrote; without ``samples.npz`` the scores can be shown but not compared.

    Raises:
        DataError: no such file, not one of embedkit's, or its ``samples.npz`` is of another evaluation.
    """
    path = folder / JSON if folder.is_dir() else folder
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if found.pop("format") != FORMAT:
            raise DataError("written by another version of embedkit", str(path), "evaluate again")
        tasks = [TaskScore(**{**task, "interval": _interval(task["interval"])}) for task in found.pop("tasks")]
        units = _units(path.parent / UNITS, len(tasks), found.pop("samples", None))
        whole = tuple(replace(task, units=own) for task, own in zip(tasks, units, strict=True))
        return Scores(**{**found, "tasks": whole, "interval": _interval(found["interval"])})
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", str(path), "give the folder of an evaluation") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, zipfile.BadZipFile) as error:
        raise DataError(f"not the scores of an evaluation: {error}", str(path), "evaluate again") from error


def _interval(found: dict[str, float] | None) -> Interval | None:
    return None if found is None else Interval(**found)


def _units(path: Path, count: int, digest: str | None) -> list[dict[str, np.ndarray]]:
    units: list[dict[str, np.ndarray]] = [{} for _ in range(count)]
    if path.is_file():
        if digest is not None and hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            raise DataError("belongs to another evaluation than scores.json beside it", str(path), "evaluate again")
        with np.load(path, allow_pickle=False) as stored:
            for key in stored.files:
                index, _, name = key.partition("/")
                units[int(index)][name] = stored[key]
    return units
