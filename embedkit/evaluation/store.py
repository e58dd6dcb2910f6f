"""Scores on disk: ``scores.json`` for people and reports, ``samples.npz`` for a later paired comparison.

Where an evaluation looked further (`embedkit.evaluation.insight`), ``insight.npz`` is beside them.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from embedkit.disk import files
from embedkit.errors import DataError
from embedkit.foreign.parsing import from_json
from embedkit.foreign.showing import as_json
from embedkit.types import Interval, Scores, TaskScore

JSON, UNITS, INSIGHT = "scores.json", "samples.npz", "insight.npz"
FORMAT = 1


def plain(scores: Scores) -> dict[str, Any]:
    """Scores as JSON-ready data, without the per-unit arrays."""
    tasks = tuple(replace(task, units={}, insight={}) for task in scores.tasks)
    found = asdict(replace(scores, tasks=tasks))
    for task in found["tasks"]:
        del task["units"], task["insight"]
    return {"format": FORMAT, **found, "tasks": list(found["tasks"])}


def write_scores(scores: Scores, out_dir: Path) -> Path:
    """Write the files; returns the path of ``scores.json``, which names the hashes of the others.

    Raises:
        WriteError: they cannot be written.
    """
    samples, insight = _packed([t.units for t in scores.tasks]), _packed([t.insight for t in scores.tasks])
    looked = any(task.insight for task in scores.tasks)
    found = {**plain(scores), "samples": hashlib.sha256(samples).hexdigest()}
    if looked:
        found["insight"] = hashlib.sha256(insight).hexdigest()
    text = as_json(found, indent=2, allow_nan=False) + "\n"
    files.write_bytes(out_dir / UNITS, samples)
    if looked:
        files.write_bytes(out_dir / INSIGHT, insight)
    files.write_text(out_dir / JSON, text)
    return out_dir / JSON


def load_scores(folder: Path) -> Scores:
    """Read what `write_scores` wrote; without ``samples.npz`` the scores can be shown but not compared.

    An ``insight.npz`` of another evaluation, or none, leaves the insight empty: it is shown, never compared.

    Raises:
        DataError: no such file, not one of embedkit's, or its ``samples.npz`` is of another evaluation.
    """
    path = folder / JSON if folder.is_dir() else folder
    try:
        found = from_json(path.read_text(encoding="utf-8"))
        if found.pop("format") != FORMAT:
            raise DataError("written by another version of embedkit", str(path), "evaluate again")
        tasks = [TaskScore(**{**task, "interval": _interval(task["interval"])}) for task in found.pop("tasks")]
        units = _units(path.parent / UNITS, len(tasks), found.pop("samples", None))
        insight = _insight(path.parent / INSIGHT, len(tasks), found.pop("insight", ""))
        whole = tuple(replace(t, units=u, insight=i) for t, u, i in zip(tasks, units, insight, strict=True))
        return Scores(**{**found, "tasks": whole, "interval": _interval(found["interval"])})
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", str(path), "give the folder of an evaluation") from error
    except (ValueError, KeyError, TypeError, AttributeError, *files.DAMAGED_ARRAYS) as error:
        raise DataError(f"not the scores of an evaluation: {error}", str(path), "evaluate again") from error


def _interval(found: dict[str, float] | None) -> Interval | None:
    return None if found is None else Interval(**found)


def _packed(arrays: list[dict[str, np.ndarray]]) -> bytes:
    """The arrays of every task as one npz."""
    out = io.BytesIO()
    named = {f"{i}/{name}": values for i, own in enumerate(arrays) for name, values in own.items()}
    np.savez_compressed(out, allow_pickle=False, **named)
    return out.getvalue()


def _units(path: Path, count: int, digest: str | None) -> list[dict[str, np.ndarray]]:
    if not path.is_file():
        return [{} for _ in range(count)]
    if digest is not None and hashlib.sha256(path.read_bytes()).hexdigest() != digest:
        raise DataError("belongs to another evaluation than scores.json beside it", str(path), "evaluate again")
    return _unpacked(path, count)


def _insight(path: Path, count: int, digest: str) -> list[dict[str, np.ndarray]]:
    if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != digest:
        return [{} for _ in range(count)]
    return _unpacked(path, count)


def _unpacked(path: Path, count: int) -> list[dict[str, np.ndarray]]:
    found: list[dict[str, np.ndarray]] = [{} for _ in range(count)]
    with np.load(path, allow_pickle=False) as stored:
        for key in stored.files:
            index, _, name = key.partition("/")
            found[int(index)][name] = stored[key]
    return found
