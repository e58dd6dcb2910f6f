"""Scores of the kinds of tasks besides STS, retrieval and mteb's, as tables: one for each kind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from embedkit.evaluation.grids import Cell, grid, span
from embedkit.terminal.tables import Column, Grid, name_column
from embedkit.types import TaskScore

_TITLES = {
    "classification": "Classification by logistic regression",
    "few_shot": "Few-shot classification by logistic regression",
    "label_prompts": "Classification by the nearest label text",
    "transfer": "Transfer by logistic regression, strength chosen in folds",
    "clustering": "Clustering by k-means",
    "pair_classification": "Pairs that match or not",
    "reranking": "Reranking",
    "bitext": "Bitext mining",
    "consistency": "The same questions in several languages",
    "choice": "The right text among near ones",
    "analogy": "Analogies: one relation, one direction",
    "no_answer": "Queries that nothing answers",
}
_ITEMS = {
    "pair_classification": "pairs",
    "bitext": "pairs",
    "reranking": "queries",
    "consistency": "items",
    "choice": "queries",
    "analogy": "pairs",
    "no_answer": "queries",
}
_MAIN = {
    "balanced_accuracy": "balanced accuracy",
    "v_measure": "v-measure",
    "ap": "average precision",
    "map": "MAP",
    "f1": "F1",
}
_OTHERS = {
    "classification": {"f1": "F1", "precision": "precision", "recall": "recall", "ece": "ECE"},
    "label_prompts": {"accuracy_worst": "worst", "f1": "F1"},
    "transfer": {"f1": "F1"},
    "clustering": {"ami": "AMI"},
    "pair_classification": {"auc": "AUC", "f1": "F1", "accuracy": "accuracy"},
    "reranking": {"mrr": "MRR", "ndcg@10": "NDCG@10", "auc": "AUC"},
    "bitext": {"accuracy": "accuracy", "precision": "precision"},
    "consistency": {"recall@10": "recall@10", "mrr": "MRR", "rank_variance": "MRV", "rank_std": "rank sd"},
    "choice": {"margin": "margin"},
    "analogy": {"alignment": "alignment", "accuracy": "accuracy"},
    "no_answer": {
        "hallucination_rate": "answered",
        "error_rate": "refused",
        "coverage": "coverage",
        "auc": "AUC",
    },
}
"""Metric -> heading of a column besides the main one."""
_NOTES = {
    "classification": "F1, precision, recall: means over classes. Per class: texts learnt from, drawn several "
    "times; sd: of the accuracy over the draws; ECE: expected calibration error, smaller is better.",
    "few_shot": "Accuracy with that many texts of each class; mean of several draws, and the 95 % interval of that "
    "mean.",
    "label_prompts": "Means over the templates; worst: the template with the lowest accuracy; sd: over the templates.",
    "consistency": "Means over the languages. MRV: variance of an item's rank over the languages, mean over the items; "
    "rank sd: its standard deviation. Both depend on the number of answers; smaller is better.",
    "choice": "Chance: of a choice by lot. Margin: similarity of the right text less that of the most similar wrong "
    "one.",
    "analogy": "Consistency: how often two offsets of a relation are closer than two of pairs that were dealt anew, "
    "chance 50. Alignment: of an offset with the mean direction of its relation. Accuracy: b - a + c is nearest to d.",
    "no_answer": "At the threshold that is best on the dev queries. Answered: share of the queries without a relevant "
    "document that are answered all the same; refused: share of the others that are not. Balanced accuracy: 100 minus "
    "the mean of the two.",
    "pair_classification": "F1, accuracy: at the threshold that is best for it on these pairs.",
}


def grids(by_type: Mapping[str, Sequence[TaskScore]]) -> Iterator[Grid]:
    """A table for each kind that there are scores of."""
    for kind, title in _TITLES.items():
        if by_type.get(kind):
            yield _few_shot(by_type[kind]) if kind == "few_shot" else _of(kind, title, by_type[kind])


def _of(kind: str, title: str, tasks: Sequence[TaskScore]) -> Grid:
    main = tasks[0].main
    return grid(
        f"{title}: 100 x {_MAIN.get(main, main)}",
        tasks,
        [
            (name_column("task"), lambda task: task.task),
            (Column(_ITEMS.get(kind, "texts"), 4), lambda task: f"{task.details['items']:,}"),
            (Column("classes", 5), lambda task: _count(task, "classes")),
            (Column("languages", 5), lambda task: str(len(task.details["languages"])) if kind == "consistency" else ""),
            (Column("relations", 5), lambda task: str(len(task.details["relations"])) if kind == "analogy" else ""),
            (Column("chance", 5), lambda task: f"{task.details['chance']:.2f}" if "chance" in task.details else ""),
            (Column("without", 5), lambda task: _count(task, "without")),
            (Column("per class", 6), _per_class),
            (Column("main", style="bold"), lambda task: f"{task.metrics[task.main]:.2f}"),
            (Column("95 % interval", 1), lambda task: span(task.interval)),
            (Column("sd", 3), _deviation),
            *((Column(heading, 7), _metric(name)) for name, heading in _OTHERS.get(kind, {}).items()),
        ],
        _NOTES.get(kind, ""),
    )


def _few_shot(tasks: Sequence[TaskScore]) -> Grid:
    """A row for each number of texts."""
    worded = any("templates" in task.details for task in tasks)
    made = Grid(
        [
            name_column("task"),
            Column("per class", 1),
            Column("accuracy", style="bold"),
            Column("95 % interval", 1),
            Column("sd", 4),
            Column("F1", 5),
            *([Column(heading, 6) for heading in _WORDINGS] if worded else []),
        ],
        f"{_TITLES['few_shot']}: 100 x accuracy",
        _NOTES["few_shot"] + (_HELD_OUT if worded else ""),
    )
    for task in tasks:
        for name, draws in task.details["draws"].items():
            metric, _, shots = name.partition("@")
            if metric == "accuracy":
                low, high = draws["interval"]
                f1 = f"{task.metrics[f'f1@{shots}']:.2f}"
                cells = [task.task, shots, f"{draws['mean']:.2f}", f"{low:.2f} .. {high:.2f}", f"{draws['sd']:.2f}", f1]
                made.add(*cells, *(_wordings(task, draws, shots) if worded else []))
    return made


_WORDINGS = ("seen", "worst", "template sd")
_HELD_OUT = (
    " Of tasks with templates: means over the held-out ones; seen: in the templates that were learnt from; worst: of "
    "the held-out ones; template sd: over these."
)


def _wordings(task: TaskScore, draws: Mapping[str, Any], shots: str) -> list[str]:
    if "over_templates" not in draws:
        return [""] * len(_WORDINGS)
    found = draws["over_templates"]
    return [f"{task.metrics[f'accuracy_seen@{shots}']:.2f}", f"{found['worst']:.2f}", f"{found['sd']:.2f}"]


def _count(task: TaskScore, name: str) -> str:
    return f"{task.details[name]:,}" if name in task.details else ""


def _per_class(task: TaskScore) -> str:
    if "samples_per_label" not in task.details:
        return ""
    number = task.details["samples_per_label"]
    return "all" if number is None else f"{number:,}"


def _deviation(task: TaskScore) -> str:
    draws = task.details.get("draws", {}).get("accuracy", {})
    return f"{draws['sd']:.2f}" if "sd" in draws else ""


def _metric(name: str) -> Cell:
    return lambda task: f"{task.metrics[name]:.2f}" if name in task.metrics else ""
