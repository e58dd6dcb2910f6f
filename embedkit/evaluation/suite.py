"""Suites: find one by name or file, find its files, run it. The front door of the evaluation.

No torch here: a suite can be found, checked and its cost told before a model is loaded.
"""

from __future__ import annotations

import importlib.metadata
import platform
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from embedkit import __version__
from embedkit.disk import paths
from embedkit.errors import DataError, EmbedkitError, RecipeError
from embedkit.evaluation import groups, lexical, robustness, stats
from embedkit.evaluation.compare import Comparison, compare
from embedkit.evaluation.files import file_digest
from embedkit.evaluation.kept import Keeps
from embedkit.evaluation.loading import beir_files
from embedkit.evaluation.mteb import running
from embedkit.evaluation.mteb.catalogue import tasks_of
from embedkit.evaluation.mteb.running import Results
from embedkit.evaluation.store import JSON as SCORES
from embedkit.evaluation.store import load_scores, plain, write_scores
from embedkit.evaluation.stored import Form
from embedkit.evaluation.table import table
from embedkit.evaluation.tasks import TaskData, check_stored, load_task, run_task
from embedkit.evaluation.two_stage import TwoStage
from embedkit.foreign import showing
from embedkit.foreign.limits import SHOWN_LINE
from embedkit.foreign.quoting import cut, did_you_mean, listed, quoted
from embedkit.recipe.load import load_suite_file
from embedkit.recipe.mteb import PREFIX, MtebTask
from embedkit.recipe.reading.settle import settle_suite
from embedkit.recipe.suite import StsTask, Suite, Task
from embedkit.recipe.through_mteb import through_mteb
from embedkit.types import Encodes, Scores, TaskScore

__all__ = [
    "SCORES",
    "Comparison",
    "Encodes",
    "Results",
    "compare",
    "digests",
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

logger = showing.logger(__name__)

_PACKAGE = Path(__file__).resolve().parent.parent
_LIBRARIES = ("sentence-transformers", "transformers", "torch", "numpy")


def shipped_suites() -> Path:
    """The folder of the shipped suites: in the wheel, else in the checkout."""
    inside = _PACKAGE / "_eval" / "suites"
    return inside if inside.is_dir() else _PACKAGE.parent / "eval" / "suites"


def list_suites() -> list[Path]:
    """All shipped suites, sorted by name."""
    return sorted(shipped_suites().glob("*.yaml"))


def load_suite(ref: str | Suite, data_dir: str | Path | None = None) -> Suite:
    """Find a suite and its files.

    Args:
        ref: a `Suite`, a YAML file, the name of a shipped suite (``sts``), either with chosen tasks
            (``sts:STS-B,SICK-R``), or tasks and benchmarks of mteb
            (``mteb:NanoBEIR,STS12``), or a file whose tasks mteb is to measure (``mteb:own.yaml``). A file that exists
            wins over a shipped name. Files of a suite in a file start at
            that file, those of a `Suite` where they were settled, else at the working folder.
        data_dir: where the files are, instead of beside the suite. ``sts/STS12.tsv`` is found there under its
            whole path or without leading folders, so `data_dir` may be the ``sts`` folder itself.

    Returns:
        The suite with absolute files and folders.

    Raises:
        RecipeError: no such suite or task, or the file is wrong.
        DataError: `data_dir` is no folder, though the files may be elsewhere; or files are missing; the message lists
            all of them and where they were looked for.
    """
    data_dir = _data_folder(data_dir)
    if isinstance(ref, Suite):
        return _absolute(settle_suite(ref, data_dir, paths.starts(None)), "")
    file = _of_file(ref)
    if file is None:
        return Suite(name=str(ref), tasks=tasks_of(ref))
    name, chosen = paths.split_suite(file)
    path = paths.locate(file, "suite").place or _shipped(name)
    suite = _choose(load_suite_file(path), chosen, ref)
    if file != ref:
        suite = through_mteb(suite, cut(ref))
    return _absolute(settle_suite(suite, data_dir, (path.resolve().parent,)), name)


def load_data(suite: Suite) -> list[TaskData]:
    """The data of every task of a suite from `load_suite`, in order.

    Raises:
        DataError: see `embedkit.evaluation.loading`.
    """
    return [load_task(task) for task in suite.tasks]


def evaluate_suite(
    encoder: Encodes | TwoStage,
    suite: Suite,
    *,
    data_dir: Path | None = None,
    resamples: int = 1000,
    seed: int = stats.SEED,
    batch_tokens: int = 8192,
    model_name: str = "",
    select: str = "average",
    progress: bool = False,
    data: Sequence[TaskData] | None = None,
    geometry: bool = False,
    insight: bool = False,
    kept: Keeps | None = None,
    results: Results | None = None,
    stored: Form | None = None,
) -> Scores:
    """Measure a model on every task of a suite. All data is read and checked before the first text is encoded.

    Args:
        encoder: the model.
        suite: from `load_suite`, or made in Python.
        data_dir: as in `load_suite`, for files that are not absolute yet.
        resamples: bootstrap resamples; 0 leaves the intervals out.
        seed: of the bootstrap.
        batch_tokens: padded tokens per batch.
        model_name: how reports call the model.
        select: the number that chooses checkpoints, ``average`` or ``TASK/METRIC``; recorded in the scores.
        progress: show bars.
        data: from `load_data`, to measure several times and read once.
        kept: where vectors of this model are kept between evaluations; None: they are not.
        geometry: also measure alignment, uniformity and ranks of every STS task (`details["geometry"]`).
        insight: also take what a report shows, and the geometry of a sample, see `embedkit.evaluation.insight`.
        results: where those of mteb tasks are kept, so that the same content is not measured twice; None: nowhere.
        stored: how embeddings are stored before they are compared, see `embedkit.evaluation.stored`; texts are then not
            changed by rule. None: they are not stored.

    Raises:
        RecipeError: `select` is not measured by the suite, `geometry` with no STS task in it, or a task that keeps more
            tokens than the model has positions for.
        DataError: see `embedkit.evaluation.loading`; or an mteb task needs the Hub, and may not ask it.
        EmbedkitError: an embedding that is not finite; or no task could be measured. One of several mteb tasks that
            fails is in `Scores.failed`, with its reason.
    """
    suite.check_selection(select)
    check_lengths(encoder, suite)
    check_tasks(encoder, suite)
    if stored is not None:
        check_stored(encoder, suite.tasks, stored)
    if geometry:
        _check_embeds(encoder)
        _check_geometry(suite)
    suite = load_suite(suite, data_dir)
    data = load_data(suite) if data is None else data
    check_there(encoder, suite, data, results)
    start = time.perf_counter()
    options: dict[str, Any] = {"batch_tokens": batch_tokens, "progress": progress, "kept": kept}
    options |= {"geometry": geometry, "insight": insight, "stored": stored}
    measured, failed = _measure(encoder, suite, data, results, options, (resamples, seed))
    tasks, draws = [], []
    for score in measured:
        if resamples and score.units:
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
        interval=stats.interval(average, np.mean(draws, axis=0)) if len(draws) == len(tasks) else None,
        failed=failed,
    )


def _measure(
    encoder: Encodes | TwoStage,
    suite: Suite,
    data: Sequence[TaskData],
    results: Results | None,
    options: dict[str, Any],
    draws: tuple[int, int],
) -> tuple[list[TaskScore], dict[str, str]]:
    """Scores of the tasks, and the reason of each task of mteb that failed; `draws`: resamples and their seed."""
    scores: list[TaskScore] = []
    errors: dict[str, EmbedkitError] = {}
    for task, own in zip(suite.tasks, data, strict=True):
        try:
            score = run_task(encoder, task, own, results=results, **options)
        except EmbedkitError as error:
            if not isinstance(task, MtebTask):
                raise
            errors[task.name] = error
            logger.warning("%s is left out: %s", task.name, error.what)
        else:
            details = {**score.details, "files": digests(task)}
            found = getattr(own, "groups", None)
            if found is not None:
                details["groups"] = groups.measured(score, found, *draws)
            if robustness.rules_of(task) and options["stored"] is None:
                details["perturbed"] = robustness.measured(encoder, task, own, score, *draws, options)
            scores.append(replace(score, details=details))
    if not scores:
        what = f"none of the {len(errors)} tasks could be measured"
        raise next(iter(errors.values())) if len(errors) == 1 else EmbedkitError(what, below=list(errors.values()))
    return scores, {name: error.what for name, error in errors.items()}


def check_tasks(encoder: Encodes | TwoStage, suite: Suite) -> None:
    """Refuse tasks that a reranker, or a sparse encoder, cannot be measured on.

    Raises:
        RecipeError: with the task.
    """
    for task in suite.tasks:
        if isinstance(encoder, TwoStage):
            encoder.check(task)
        else:
            lexical.check(encoder, task)


def _check_embeds(encoder: Encodes | TwoStage) -> None:
    if isinstance(encoder, TwoStage) or lexical.is_sparse(encoder):
        what = "a reranker has none" if isinstance(encoder, TwoStage) else "those of a sparse encoder are stored sparse"
        raise RecipeError(f"geometry is that of embeddings, and {what}", "--geometry", "leave the option out")


def check_there(encoder: Encodes | TwoStage, suite: Suite, data: Sequence[TaskData], results: Results | None) -> None:
    """Where the Hub may not be asked: refuse tasks of mteb whose data is not here.

    Raises:
        DataError: lists what is missing and where it would have to be.
    """
    if isinstance(encoder, TwoStage):
        return  # `check_tasks` refuses such tasks
    running.check_there(
        encoder,
        [
            (task, own)
            for task, own in zip(suite.tasks, data, strict=True)
            if isinstance(task, MtebTask) and isinstance(own, running.MtebData)
        ],
        results,
    )


def check_lengths(encoder: Encodes | TwoStage, suite: Suite) -> None:
    """Refuse a task that keeps more tokens of a text than the model has positions for.

    Raises:
        RecipeError: with the most that is possible.
    """
    longest = getattr(encoder, "longest", None)
    for task in suite.tasks:
        if task.max_length is not None and longest is not None and task.max_length > longest:
            what = f"max_length {task.max_length} is more than the {longest} tokens that the model has room for"
            raise RecipeError(what, f"task {task.name}", f"at most {longest}")


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


def _data_folder(given: str | Path | None) -> Path | None:
    if given is None:
        return None
    found = paths.locate(given if isinstance(given, str) else str(given), "folder")
    if found.place is None:
        wanted = paths.at_home(found)
        is_file = any(paths.is_there(start / wanted, Path.is_file) for start in found.looked)
        what = "is a file, not the folder of the suite's files" if is_file else "there is no such folder"
        if not wanted.is_absolute():
            what += f"; looked in {paths.words(found.looked)}"
        cure = "give the folder that the suite's files are in with --data DIR (eval.data in a recipe), or leave it out"
        raise DataError(what, cut(str(found), SHOWN_LINE), cure)
    return found.place


def _of_file(ref: str) -> str | None:
    """What names a suite of a file, without ``mteb:``; None where that stands before names of mteb."""
    if not ref.startswith(PREFIX):
        return ref
    looked = ref.looked if isinstance(ref, paths.Located) else None
    file = paths.locate(ref.removeprefix(PREFIX), "suite", looked)
    by_name = file.place is None and not paths.split_suite(file)[0].endswith((".yaml", ".yml"))
    return None if by_name else file


def _shipped(name: str) -> Path:
    shipped = {found.stem: found for found in list_suites()}
    if name in shipped:
        return shipped[name]
    hint = did_you_mean(name, list(shipped))
    raise RecipeError("no such suite", cut(name), f"{hint}shipped: {', '.join(shipped)}; or give a YAML file")


def _choose(suite: Suite, chosen: Sequence[str], ref: str) -> Suite:
    tasks = {task.name: task for task in suite.tasks}
    for name in chosen:
        if name not in tasks:
            what = f"suite {suite.name!r} has no task {quoted(name)}"
            raise RecipeError(what, cut(ref), f"{did_you_mean(name, list(tasks))}tasks: {listed(tasks)}")
    return suite.model_copy(update={"tasks": tuple(tasks[name] for name in chosen)}) if chosen else suite


def _absolute(suite: Suite, name: str) -> Suite:
    """A settled suite with plain absolute paths in place of the words that were written.

    Args:
        suite: the suite.
        name: under which it was asked for, and chosen tasks of it can be; empty for one that has none.
    """
    missing: dict[str, paths.Located] = {}

    def place(name: str) -> str:
        found = paths.locate(name, "file")
        if found.place is None:
            missing[name] = found
        return str(found.place)

    tasks = tuple(task.moved(place) for task in suite.tasks)
    if missing:
        looked = [folder.resolve() for found in missing.values() for folder in found.looked]
        raise DataError(
            f"suite {suite.name!r} needs files that are not there: {', '.join(missing)}",
            paths.words(looked),
            "give their folder with --data DIR (eval.data in a recipe)"
            + (f", or choose tasks: {name}:TASK,TASK" if name else ""),
        )
    return suite.model_copy(update={"tasks": tasks})


def digests(task: Task) -> dict[str, str]:
    """Folder and name of each file of a task -> first 16 hex digits of its SHA-256; empty where it has none."""
    read: Any = task.data if isinstance(task, MtebTask) else task
    files = [Path(file) for name in ("train", "files") for file in getattr(read, name, ())]
    if getattr(read, "folder", None) is not None:
        splits = [getattr(read, name) for name in ("split", "dev") if hasattr(read, name)]
        found = [file for split in splits for file in beir_files(Path(read.folder), split)]
        files = list(dict.fromkeys(found))
    return {f"{file.parent.name}/{file.name}": file_digest(file) for file in files}
