"""A task of embedkit's own as mteb measures it: the same files and columns. Neither is imported here."""

from __future__ import annotations

from typing import Any, TypeAlias

from embedkit.errors import RecipeError
from embedkit.recipe.base import Block
from embedkit.recipe.kinds import BitextTask, ClassificationTask, ClusteringTask, PairTask, RerankingTask
from embedkit.recipe.mteb import (
    BitextFiles,
    ClassificationFiles,
    ClusteringFiles,
    MtebTask,
    PairFiles,
    RerankingFiles,
    RetrievalFolder,
    StsFiles,
)
from embedkit.recipe.suite import RetrievalTask, StsTask, Suite, Task

Files: TypeAlias = type[Block]
_FILES: dict[type[Block], Files] = {
    StsTask: StsFiles,
    RetrievalTask: RetrievalFolder,
    ClassificationTask: ClassificationFiles,
    ClusteringTask: ClusteringFiles,
    PairTask: PairFiles,
    RerankingTask: RerankingFiles,
    BitextTask: BitextFiles,
}
_FIXED: dict[str, Any] = {
    "aggregate": "all",
    "similarity": None,
    "ignore_identical_ids": False,
    "limit_queries": None,
    "pydocs": None,
    "metric": "ndcg@10",
}
"""What a task may say that mteb has no choice of, with the value that it then has."""


def through_mteb(suite: Suite, where: str) -> Suite:
    """The same suite, every task measured by mteb.

    Args:
        suite: as read.
        where: for errors.

    Raises:
        RecipeError: mteb has no such kind of task, or not the choice that it makes.
    """
    return suite.model_copy(update={"tasks": tuple(_task(task, where) for task in suite.tasks)})


def _task(task: Task, where: str) -> MtebTask:
    if isinstance(task, MtebTask):
        return task
    place = f"{where}, task {task.name}"
    files = _FILES.get(type(task))
    if files is None:
        cure = "choose tasks, mteb:FILE:TASK,TASK; or leave `mteb:` out, and embedkit measures it"
        raise RecipeError(f"mteb has no tasks of type {task.type}", place, cure)
    for name, value in _FIXED.items():
        if getattr(task, name, value) != value:
            what = f"mteb measures with {name}: {value}, the task says {getattr(task, name)}"
            raise RecipeError(what, place, f"leave `{name}` out, or leave `mteb:` out, and embedkit measures it")
    if isinstance(task, ClassificationTask) and task.samples_per_label is None:
        cure = "give a number, or leave `mteb:` out, and embedkit measures it"
        raise RecipeError("mteb draws texts of each class, the task asks for all of them", place, cure)
    kept = {name: getattr(task, name) for name in files.model_fields if name != "kind"}
    return MtebTask(name=task.name, max_length=task.max_length, data=files(**kept))  # type: ignore[arg-type]
