"""mteb itself, if it is there: its tasks and benchmarks by name, with its hands off this process' random state."""

from __future__ import annotations

import copy
import difflib
import importlib.util
import logging
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from embedkit.errors import RecipeError
from embedkit.foreign.limits import NAME
from embedkit.foreign.quoting import cut, did_you_mean, quoted
from embedkit.recipe.mteb import PREFIX, MtebTask, names_of


@contextmanager
def undisturbed() -> Iterator[None]:
    """Random states are afterwards what they were before, and mteb's remarks stay its own.

    Making a task seeds `random`, numpy and torch for the whole process, importing mteb makes thousands: in a training
    run that would give every update the same dropout as the one after the last evaluation.
    """
    from embedkit.model.reading.seeding import undrawn

    quiet = {name: logging.getLogger(name) for name in ("mteb", "datasets")}
    levels = {name: logger.level for name, logger in quiet.items()}
    import datasets

    bars = datasets.are_progress_bars_disabled()
    try:
        datasets.disable_progress_bars()
        for logger in quiet.values():
            logger.setLevel(logging.ERROR)
        with undrawn(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        if not bars:
            datasets.enable_progress_bars()
        for name, logger in quiet.items():
            logger.setLevel(levels[name])


def mteb() -> Any:
    """The package; inside `undisturbed`.

    Raises:
        RecipeError: it is not installed.
    """
    if importlib.util.find_spec("mteb") is None:
        cure = "pip install 'embedkit-train[mteb]'"
        if sys.version_info < (3, 11):
            cure += ", with Python 3.11 or newer: mteb has left out 3.10"
        raise RecipeError("mteb is not installed", "an mteb task of the suite", cure)
    import mteb as package

    return package


def tasks_of(reference: str) -> tuple[MtebTask, ...]:
    """The tasks of ``mteb:NAME,NAME``, benchmarks taken apart.

    Raises:
        RecipeError: no name, or one that is neither a task nor a benchmark of mteb; the message has the nearest.
    """
    names = names_of(reference)
    if not names:
        cure = f'e.g. {PREFIX}NanoBEIR, {PREFIX}SciFact,STS12 or {PREFIX}"MTEB(eng, v2)"'
        raise RecipeError("names no task or benchmark", cut(reference), cure)
    found: dict[str, MtebTask] = {}
    with undisturbed():
        package = mteb()
        benchmarks = _benchmarks(package)
        for name in names:
            if name in benchmarks:
                tasks = [MtebTask(task=t.metadata.name, benchmark=name) for t in benchmarks[name].tasks]
            else:
                tasks = [MtebTask(task=_known(package, name, reference))]
            found |= {task.name: task for task in tasks if task.name not in found}
    return tuple(found.values())


def official(task: MtebTask) -> Any:
    """A task of mteb, fresh: nothing drawn from its random numbers yet; inside `undisturbed`.

    Raises:
        RecipeError: there is no such task or benchmark.
    """
    package = mteb()
    assert task.task is not None
    if task.benchmark is None:
        return package.get_task(_known(package, task.task, f"task {task.name}"))
    benchmarks = _benchmarks(package)
    if task.benchmark not in benchmarks:
        hint = _near(task.benchmark, list(benchmarks))
        raise RecipeError(f"mteb has no benchmark {quoted(task.benchmark)}", f"task {task.name}", hint + _MORE)
    tasks = {t.metadata.name: t for t in benchmarks[task.benchmark].tasks}
    if task.task not in tasks:
        what = f"{task.benchmark} has no task {quoted(task.task)}"
        raise RecipeError(what, f"task {task.name}", _near(task.task, list(tasks)) + _MORE)
    return copy.deepcopy(tasks[task.task])


def is_official(name: str) -> bool:
    """Whether mteb has a task of that name; inside `undisturbed`."""
    return name in _task_names(mteb())


_MORE = "all names: https://embeddings-benchmark.github.io/mteb"


def _near(name: str, known: Sequence[str]) -> str:
    """A hint from thousands of names, whatever their case; `did_you_mean` looks at the first hundreds."""
    lower = {other.lower(): other for other in known}
    found = difflib.get_close_matches(name[:NAME].lower(), lower, n=1)
    return did_you_mean(lower[found[0]], [lower[found[0]]]) if found else ""


def _known(package: Any, name: str, where: str) -> str:
    names = _task_names(package)
    if name in names:
        return name
    hint = _near(name, [*names, *_benchmarks(package)])
    raise RecipeError(f"mteb has no task or benchmark {quoted(name)}", cut(where), hint + _MORE)


def _task_names(package: Any) -> Sequence[str]:
    from mteb.get_tasks import _TASKS_REGISTRY

    return tuple(_TASKS_REGISTRY)


def _benchmarks(package: Any) -> dict[str, Any]:
    found = {benchmark.name: benchmark for benchmark in package.get_benchmarks()}
    return {**{alias: b for b in found.values() for alias in b.aliases or ()}, **found}
