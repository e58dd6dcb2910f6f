"""A task measured again with texts that were changed by rule: how far its main number falls."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from embedkit.evaluation import stats
from embedkit.evaluation.content import Content
from embedkit.evaluation.loading import StsData
from embedkit.evaluation.perturbing import changed
from embedkit.evaluation.tasks import TaskData, run_task
from embedkit.evaluation.two_stage import TwoStage
from embedkit.recipe.columns import Rule
from embedkit.recipe.suite import Task
from embedkit.types import Encodes, RetrievalData, TaskScore


def rules_of(task: Task) -> Sequence[Rule]:
    """The rules that a task asks for."""
    return getattr(task, "perturb", None) or ()


def texts(task: Task, data: TaskData) -> Iterator[tuple[list[str], str]]:
    """The changed texts of every rule, with their role: what will be encoded besides."""
    for rule in rules_of(task):
        yield [changed(text, rule) for text in _own(data)], "query"


def measured(
    encoder: Encodes | TwoStage,
    task: Task,
    data: TaskData,
    clean: TaskScore,
    resamples: int,
    seed: int,
    options: dict[str, Any],
) -> dict[str, dict[str, Any]]:
    """The main metric after each rule, and the drop with the interval of the paired bootstrap.

    Args:
        encoder: the model, or a reranker.
        task: what to measure.
        data: its data.
        clean: its score on the texts as they are, with units.
        resamples: of the bootstrap; 0 leaves intervals out.
        seed: of the draws.
        options: of `run_task`.

    Returns:
        Rule -> ``value``, ``drop``, ``relative`` (drop / clean value, in percent; None where that is not above 0),
        ``interval`` of the drop, ``changed`` and ``items``: how many texts the rule changed, of how many.
    """
    found = {}
    before = clean.metrics[clean.main]
    for rule in rules_of(task):
        own = _own(data)
        new = [changed(text, rule) for text in own]
        score = run_task(encoder, task, with_texts(data, new, rule), **options | {"insight": False, "geometry": False})
        drop = before - score.metrics[score.main]
        interval = None
        if resamples:
            drawn = [stats.draws(s, resamples, seed)[s.main] for s in (clean, score)]
            ends = stats.interval(drop, drawn[0] - drawn[1])
            interval = [ends.low, ends.high]
        share = relative_drop(before, score.metrics[score.main])
        found[str(rule)] = {
            "value": score.metrics[score.main],
            "drop": drop,
            "relative": None if share is None else 100 * share,
            "interval": interval,
            "changed": sum(a != b for a, b in zip(own, new, strict=True)),
            "items": len(own),
        }
    return found


def relative_drop(clean: float, other: float) -> float | None:
    """``(clean - other) / clean``; None where the clean score is not above 0, and a share of it means nothing."""
    return (clean - other) / clean if clean > 0 else None


def _own(data: Any) -> list[str]:
    """The texts that are changed: queries, first texts, or texts that get a label."""
    if isinstance(data, StsData):
        return data.first
    if isinstance(data, RetrievalData):
        return list(data.queries.values())
    if not isinstance(data, Content):
        return _own(data.content)
    return _own(data.retrieval) if data.retrieval is not None else data.test[_column(data)]


def with_texts(data: Any, texts: list[str], rule: Rule) -> Any:
    """The same data with other texts in the place of those that a rule changes, and another digest."""
    if not isinstance(data, (StsData, RetrievalData, Content)):
        return replace(data, content=with_texts(data.content, texts, rule))
    digest = f"{data.digest} {rule}"
    if isinstance(data, StsData):
        return replace(data, first=texts, digest=digest)
    if isinstance(data, RetrievalData):
        return replace(data, queries=dict(zip(data.queries, texts, strict=True)), digest=digest)
    if data.retrieval is not None:
        return replace(data, retrieval=with_texts(data.retrieval, texts, rule), digest=digest)
    return replace(data, test={**data.test, _column(data): texts}, digest=digest)


def _column(data: Content) -> str:
    return "text" if "text" in data.test else "first"
