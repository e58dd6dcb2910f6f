"""Suites: find one by name or file, find its files, run it. The front door of the evaluation.

No torch here: a suite can be found, checked and its cost told before a model is loaded.
"""

from __future__ import annotations

import difflib
import importlib.metadata
import platform
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from embedkit import __version__, paths
from embedkit.errors import DataError, RecipeError
from embedkit.evaluation import stats
from embedkit.evaluation.compare import Comparison, compare
from embedkit.evaluation.files import file_digest
from embedkit.evaluation.loading import beir_files
from embedkit.evaluation.store import load_scores, plain, write_scores
from embedkit.evaluation.table import table
from embedkit.evaluation.tasks import TaskData, load_task, run_task
from embedkit.recipe.load import load_suite_file
from embedkit.recipe.suite import RetrievalTask, StsTask, Suite
from embedkit.types import Encodes, Scores, TaskScore

__all__ = [
    "Comparison",
    "Encodes",
    "compare",
    "evaluate_suite",
    "list_suites",
    "load_data",
    "load_scores",
    "load_suite",
    "plain",
    "shipped_suites",
    "table",
    "write_scores",
]

_PACKAGE = Path(__file__).resolve().parent.parent
_LIBRARIES = ("sentence-transformers", "transformers", "torch", "numpy")


def shipped_suites() -> Path:
    """The folder of the shipped suites: in the wheel, else in the checkout."""
    inside = _PACKAGE / "_eval" / "suites"
    return inside if inside.is_dir() else _PACKAGE.parent / "eval" / "suites"


def list_suites() -> list[Path]:
    """All shipped suites, sorted by name."""
    return sorted(shipped_suites().glob("*.yaml"))


def load_suite(ref: str | Suite, base_dir: Path | None = None, data_dir: Path | None = None) -> Suite:
    """Find a suite and its files.

    Args:
        ref: a `Suite`, a YAML file, the name of a shipped suite (``sts``), or either with chosen tasks
            (``sts:STS-B,SICK-R``). A file that exists wins over a shipped name.
        base_dir: folder that a relative `ref`, `data_dir` and the files of a `Suite` start from; the working folder is
            tried next. Files of a suite in a file start at that file.
        data_dir: where the files are, instead of beside the suite. ``sts/STS12.tsv`` is found there under its
            whole path or without leading folders, so `data_dir` may be the ``sts`` folder itself.

    Returns:
        The suite with absolute files and folders.

    Raises:
        RecipeError: no such suite or task, or the file is wrong.
        DataError: files are missing; the message lists all of them and where they were looked for.
    """
    if data_dir is not None:
        data_dir = paths.find(data_dir, base_dir, Path.is_dir) or data_dir
    if isinstance(ref, Suite):
        return _find_files(ref, data_dir, paths.starts(base_dir))
    name, chosen = _split_ref(ref, base_dir)
    path = _find_suite(name, base_dir)
    suite = _choose(load_suite_file(path), chosen, ref)
    return _find_files(suite, data_dir, (path.resolve().parent,))


def load_data(suite: Suite) -> list[TaskData]:
    """The data of every task of a suite from `load_suite`, in order.

    Raises:
        DataError: see `embedkit.evaluation.loading`.
    """
    return [load_task(task) for task in suite.tasks]


def evaluate_suite(
    encoder: Encodes,
    suite: Suite,
    *,
    data_dir: Path | None = None,
    base_dir: Path | None = None,
    resamples: int = 1000,
    seed: int = 0,
    batch_tokens: int = 8192,
    model_name: str = "",
    select: str = "average",
    progress: bool = False,
    data: Sequence[TaskData] | None = None,
    geometry: bool = False,
) -> Scores:
    """Measure a model on every task of a suite. All data is read and checked before the first text is encoded.

    Args:
        encoder: the model.
        suite: from `load_suite`, or made in Python.
        data_dir, base_dir: as in `load_suite`, for files that are not absolute yet.
        resamples: bootstrap resamples; 0 leaves the intervals out.
        seed: of the bootstrap.
        batch_tokens: padded tokens per batch.
        model_name: how reports call the model.
        select: the number that chooses checkpoints, ``average`` or ``TASK/METRIC``; recorded in the scores.
        progress: show bars.
        data: from `load_data`, to measure several times and read once.
        geometry: also measure alignment, uniformity and ranks of every STS task (`details["geometry"]`).

    Raises:
        RecipeError: `select` is not measured by the suite, or `geometry` with no STS task in it.
        DataError: see `embedkit.evaluation.loading`.
        EmbedkitError: an embedding that is not finite.
    """
    suite.check_selection(select)
    if geometry:
        _check_geometry(suite)
    suite = load_suite(suite, base_dir, data_dir)
    start = time.perf_counter()
    tasks, draws = [], []
    for task, own in zip(suite.tasks, load_data(suite) if data is None else data, strict=True):
        score = run_task(encoder, task, own, batch_tokens=batch_tokens, progress=progress, geometry=geometry)
        score = replace(score, details={**score.details, "files": _digests(task)})
        if resamples:
            drawn = stats.draws(score, resamples, seed)
            draws.append(drawn[score.main])
            score = _with_intervals(score, drawn, seed)
        tasks.append(score)
    average = float(np.mean([score.metrics[score.main] for score in tasks]))
    return Scores(
        model=model_name,
        fingerprint=encoder.fingerprint(),
        suite=suite.name,
        tasks=tuple(tasks),
        selection=select,
        average=average,
        seconds=round(time.perf_counter() - start, 3),
        versions=_versions(),
        interval=stats.interval(average, np.mean(draws, axis=0)) if draws else None,
    )


def _check_geometry(suite: Suite) -> None:
    if not any(isinstance(task, StsTask) for task in suite.tasks):
        raise RecipeError(
            f"suite {suite.name!r} has no STS task, and geometry is measured on STS sentences",
            "--geometry",
            "choose a suite with STS tasks, or leave the option out",
        )


def _with_intervals(score: TaskScore, draws: stats.Draws, seed: int) -> TaskScore:
    found = {name: stats.interval(score.metrics[name], values) for name, values in draws.items()}
    bootstrap = {"resamples": len(draws[score.main]), "seed": seed, "level": stats.LEVEL}
    shown = {name: [i.low, i.high] for name, i in found.items()}
    details = {**score.details, "intervals": shown, "bootstrap": bootstrap}
    return replace(score, interval=found[score.main], details=details)


def _versions() -> dict[str, str]:
    libraries = {name: importlib.metadata.version(name) for name in _LIBRARIES}
    return {"embedkit": __version__, "python": platform.python_version(), **libraries}


# Finding ------------------------------------------------------------------------------------------------------


def _split_ref(ref: str, base_dir: Path | None) -> tuple[str, list[str]]:
    """``sts:STS-B,SICK-R`` -> name and tasks. A colon that belongs to a path (``C:\\suite.yaml``) stays in it."""
    head, colon, tail = ref.rpartition(":")
    if not colon or paths.find(ref, base_dir, Path.is_file) or "/" in tail or "\\" in tail:
        return ref, []
    return head, [name.strip() for name in tail.split(",")]


def _find_suite(name: str, base_dir: Path | None) -> Path:
    path = paths.find(name, base_dir, Path.is_file)
    if path is not None:
        return path
    shipped = {found.stem: found for found in list_suites()}
    if name in shipped:
        return shipped[name]
    near = difflib.get_close_matches(name, shipped, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise RecipeError("no such suite", name, f"{hint}shipped: {', '.join(shipped)}; or give a YAML file")


def _choose(suite: Suite, chosen: Sequence[str], ref: str) -> Suite:
    tasks = {task.name: task for task in suite.tasks}
    for name in chosen:
        if name not in tasks:
            near = difflib.get_close_matches(name, tasks, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise RecipeError(f"suite {suite.name!r} has no task {name!r}", ref, f"{hint}tasks: {', '.join(tasks)}")
    return suite.model_copy(update={"tasks": tuple(tasks[name] for name in chosen)}) if chosen else suite


def _find_files(suite: Suite, data_dir: Path | None, folders: Sequence[Path]) -> Suite:
    roots = dict.fromkeys(root.resolve() for root in (data_dir, *folders) if root is not None)
    missing: list[str] = []
    tasks: list[StsTask | RetrievalTask] = []
    for task in suite.tasks:
        if isinstance(task, StsTask):
            files = tuple(_locate(file, data_dir, folders, missing) for file in task.files)
            tasks.append(task.model_copy(update={"files": files}))
        elif task.folder is not None:
            tasks.append(task.model_copy(update={"folder": _locate(task.folder, data_dir, folders, missing)}))
        else:
            tasks.append(task)
    if missing:
        looked = " and ".join(map(str, roots))
        raise DataError(
            f"suite {suite.name!r} needs files that are not there: {', '.join(missing)}",
            looked,
            f"give their folder with --data DIR (eval.data in a recipe), or choose tasks: {suite.name}:TASK,TASK",
        )
    return suite.model_copy(update={"tasks": tuple(tasks)})


def _locate(name: str, data_dir: Path | None, folders: Sequence[Path], missing: list[str]) -> str:
    """Absolute path of a file or folder of a suite, or its name added to `missing`."""
    path = Path(name).expanduser()
    wanted = [folder / path for folder in folders]
    if data_dir is not None and not path.is_absolute():
        below = [part for part in path.parts if part != ".."]
        wanted = [*(data_dir.joinpath(*below[i:]) for i in range(len(below))), *wanted]
    for place in wanted:
        for candidate in (place, place.with_name(place.name + ".gz")):
            if candidate.exists():
                return str(candidate.resolve())
    missing.append(name)
    return name


def _digests(task: StsTask | RetrievalTask) -> dict[str, str]:
    """Folder and name of each file -> first 16 hex digits of its SHA-256."""
    if isinstance(task, StsTask):
        files = [Path(file) for file in task.files]
    else:
        files = beir_files(Path(task.folder), task.split) if task.folder is not None else []
    return {f"{file.parent.name}/{file.name}": file_digest(file) for file in files}
