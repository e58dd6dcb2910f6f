"""Classification of frozen embeddings: on all training texts, or on draws of a few per class."""

from __future__ import annotations

import numpy as np

from embedkit.evaluation.content import read_columns
from embedkit.evaluation.kinds.base import Measured
from embedkit.evaluation.kinds.probe import Answers, Labelled, check_enough, drawn, over_draws, overlap, probe, scores
from embedkit.evaluation.side import Side
from embedkit.recipe.kinds import ClassificationTask, FewShotTask


def read(task: ClassificationTask) -> Labelled:
    """Read the files and draw.

    Raises:
        DataError: see `embedkit.evaluation.content`; or a class has fewer texts than are drawn.
    """
    content = read_columns(task)
    if task.samples_per_label is None:
        return Labelled(content, {-1: [np.arange(len(content.train["label"]))]})
    check_enough(content, task.samples_per_label, task)
    return Labelled(content, drawn(content.train["label"], [task.samples_per_label], task.experiments))


def read_few_shot(task: FewShotTask) -> Labelled:
    """Read the files and draw.

    Raises:
        DataError: see `read`.
    """
    content = read_columns(task)
    check_enough(content, task.shots[-1], task)
    return Labelled(content, drawn(content.train["label"], task.shots, task.draws))


def measure(side: Side, task: ClassificationTask, data: Labelled) -> Measured:
    """Accuracy and F1, means over the draws; intervals are of other test texts and draws."""
    gold = np.array(data.content.test["label"])
    ((_, answers),) = _answers(side, data).items()
    found = scores(gold, answers.said)
    details = {
        **_counts(data),
        "samples_per_label": task.samples_per_label,
        "draws": {name: over_draws(found[name]) for name in ("accuracy", "f1")},
        "unconverged": answers.unconverged,
    }
    metrics = {name: float(np.mean(values)) for name, values in found.items()}
    metrics |= {"ece": float(np.mean(answers.ece)), "brier": float(answers.brier.mean())}
    units = {"accuracy": _right(answers, gold), "brier": _per_draw(answers.brier)}
    return Measured(metrics, units, details, overlap(data.content))


def measure_few_shot(side: Side, task: FewShotTask, data: Labelled) -> Measured:
    """Accuracy and F1 for every number of texts; intervals are of other test texts and draws."""
    gold = np.array(data.content.test["label"])
    metrics, units, draws, unconverged = {}, {}, {}, 0
    for shots, answers in _answers(side, data).items():
        found = scores(gold, answers.said)
        for name in ("accuracy", "f1"):
            metrics[f"{name}@{shots}"] = float(np.mean(found[name]))
            draws[f"{name}@{shots}"] = over_draws(found[name])
        units[f"accuracy@{shots}"] = _right(answers, gold)
        unconverged += answers.unconverged
    details = {**_counts(data), "draws": draws, "unconverged": unconverged}
    return Measured(metrics, units, details, overlap(data.content))


def _answers(side: Side, data: Labelled) -> dict[int, Answers]:
    ((texts, role),) = data.texts
    found, place = side.encode(texts, role)
    used = data.used
    rows, test = found[place[: len(used)]], found[place[len(used) :]]
    labels, gold = np.array(data.content.train["label"])[used], np.array(data.content.test["label"])
    return {
        shots: probe(rows, labels, test, [np.searchsorted(used, draw) for draw in draws], gold)
        for shots, draws in data.draws.items()
    }


def _right(answers: Answers, gold: np.ndarray) -> np.ndarray:
    """Whether each text was recognised, [n] for one classifier, [n, draws] for several."""
    return _per_draw(answers.said == gold)


def _per_draw(values: np.ndarray) -> np.ndarray:
    """[draws, n] as units: [n], or [n, draws]."""
    return values[0] if len(values) == 1 else values.T


def _counts(data: Labelled) -> dict[str, int]:
    return {
        "items": len(data.content.test["label"]),
        "classes": len(data.content.names),
        "train": len(data.content.train["label"]),
    }
