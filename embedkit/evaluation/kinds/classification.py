"""Classification of frozen embeddings: on all training texts, or on draws of a few per class."""

from __future__ import annotations

import numpy as np

from embedkit.evaluation.content import read_columns
from embedkit.evaluation.kinds.base import Measured
from embedkit.evaluation.kinds.probe import (
    Answers,
    Labelled,
    check_enough,
    drawn,
    over_draws,
    overlap,
    probe,
    scores,
    spread,
)
from embedkit.evaluation.side import Side
from embedkit.recipe.kinds import ClassificationTask, FewShotTask

_PARTS = ("seen", "unseen")


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
    return Labelled(content, drawn(content.train["label"], task.shots, task.draws), task.prompts)


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
    """Accuracy and F1 for every number of texts, with templates means over the held-out ones; intervals are of other
    test texts and draws."""
    gold = np.array(data.content.test["label"])
    known = 0 if data.prompts is None else len(data.prompts.seen)
    metrics, units, draws, unconverged = {}, {}, {}, 0
    wordings: dict[str, dict[str, float]] = {template: {} for template in data.wordings}
    for shots, answers in _answers(side, data).items():
        said = answers.said.reshape(len(answers.said), len(wordings), len(gold))
        found = scores(gold, said[:, known:].reshape(-1, len(gold)))
        for name in ("accuracy", "f1"):
            each = np.array(found[name]).reshape(len(said), -1)
            metrics[f"{name}@{shots}"] = float(each.mean())
            draws[f"{name}@{shots}"] = over_draws(each.mean(axis=1).tolist())
        right = said == gold
        units[f"accuracy@{shots}"] = right[:, known:].reshape(-1, len(gold)).T
        if known:
            each = right.mean(axis=(0, 2))
            metrics |= {f"accuracy_worst@{shots}": float(each[known:].min())}
            metrics |= {f"accuracy_seen@{shots}": float(each[:known].mean())}
            draws[f"accuracy@{shots}"]["over_templates"] = spread(each[known:])
            for template, value in zip(wordings, each, strict=True):
                wordings[template][f"accuracy@{shots}"] = 100 * float(value)
        unconverged += answers.unconverged
    details = {**_counts(data), "draws": draws, "unconverged": unconverged}
    if known:
        details["templates"] = {part: {t: wordings[t] for t in getattr(data.prompts, part)} for part in _PARTS}
    return Measured(metrics, units, details, overlap(data.content))


def _answers(side: Side, data: Labelled) -> dict[int, Answers]:
    ((texts, role),) = data.texts
    found, place = side.encode(texts, role)
    used = data.used
    rows, test = found[place[: len(used)]], found[place[len(used) :]]
    labels = np.array(data.content.train["label"])[used]
    gold = np.tile(np.array(data.content.test["label"]), len(data.wordings))
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
