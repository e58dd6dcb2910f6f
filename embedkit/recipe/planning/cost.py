"""What measuring costs: how often, and how many texts are encoded each time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from embedkit.recipe.planning.facts import count_rows, file_format, local_files
from embedkit.recipe.schema import Recipe
from embedkit.recipe.suite import RetrievalTask, StsTask, Suite


@dataclass(frozen=True)
class EvaluationCost:
    """When the model is measured.

    Attributes:
        suite: name of the suite measured before and after, None for none.
        during: name of the suite measured during training, None for none.
        before, after: whether it is measured then.
        every: updates between evaluations, None for none.
        times: evaluations during training, None where updates are unknown.
        texts: texts encoded by one evaluation before or after; None where unknown.
        texts_during: the same for one evaluation during training.
    """

    suite: str | None
    during: str | None
    before: bool
    after: bool
    every: int | None
    times: int | None
    texts: int | None
    texts_during: int | None


def evaluation_cost(recipe: Recipe, updates: int | None, folders: Sequence[Path]) -> EvaluationCost:
    """Work out the cost; texts are counted where a suite is written in the recipe and its files are here."""
    block = recipe.eval
    during = (block.during or block.suite) if block.every is not None else None
    if block.data is not None:
        folders = [*(folder / Path(block.data).expanduser() for folder in folders), *folders]
    times = None if updates is None else (updates // block.every if block.every else 0)
    return EvaluationCost(
        suite=_name(block.suite),
        during=_name(during),
        before=block.before and block.suite is not None,
        after=block.suite is not None,
        every=block.every,
        times=times,
        texts=_texts(block.suite, folders),
        texts_during=_texts(during, folders),
    )


def _name(suite: str | Suite | None) -> str | None:
    return suite.name if isinstance(suite, Suite) else suite


def _texts(suite: str | Suite | None, folders: Sequence[Path]) -> int | None:
    if not isinstance(suite, Suite):
        return None
    counts = [_task_texts(task, folders) for task in suite.tasks]
    return None if None in counts else sum(c for c in counts if c is not None)


def _task_texts(task: StsTask | RetrievalTask, folders: Sequence[Path]) -> int | None:
    """An upper bound: equal texts are encoded once."""
    if isinstance(task, StsTask):
        names, per_row = list(task.files), 2
    elif task.folder is not None:
        names, per_row = [f"{task.folder}/corpus.jsonl", f"{task.folder}/queries.jsonl"], 1
    else:
        return None
    total = 0
    for name in names:
        files = local_files(name, folders)
        counts = [count_rows(f, file_format(f)) for f in files]
        if not files or None in counts:
            return None
        total += per_row * sum(c for c in counts if c is not None)
    return total
