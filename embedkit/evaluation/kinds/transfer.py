"""Transfer in SentEval's manner: logistic regression on frozen embeddings, its strength chosen in folds."""

from __future__ import annotations

import warnings
from collections import Counter
from typing import Any

import numpy as np

from embedkit.errors import DataError
from embedkit.evaluation.content import Content, read_columns
from embedkit.evaluation.kinds.base import Measured
from embedkit.evaluation.kinds.probe import overlap, scores
from embedkit.evaluation.side import Side
from embedkit.foreign.quoting import quoted
from embedkit.recipe.kinds import TransferTask

FOLDS_SEED = 1111
"""SentEval's."""
MAX_ITER = 1000


def read(task: TransferTask) -> Content:
    """Read the files.

    Raises:
        DataError: see `embedkit.evaluation.content`; or a class has too few texts for the folds.
    """
    content = read_columns(task)
    counts = Counter((content.train or content.test)["label"])
    label, least = min(counts.items(), key=lambda item: item[1])
    if least < 2 * task.folds:
        what = f"class {quoted(content.names[label])} has {least} texts, {task.folds} folds need {2 * task.folds}"
        most = least // 2
        cure = f"folds: {most}, or add texts of the class" if most > 1 else "add texts of the class, or leave it out"
        raise DataError(what, ", ".join(task.train or task.files), cure)
    return content


def measure(side: Side, task: TransferTask, data: Content) -> Measured:
    """Accuracy over all texts, each judged once, by what was learnt from others; an item is a text."""
    ((texts, role),) = data.texts
    found, place = side.encode(texts, role)
    rows, gold = found[place], np.array(data.test["label"])
    learnt = len(data.train.get("label", ()))
    if learnt:
        said, strength = _fitted(rows[:learnt], np.array(data.train["label"]), rows[learnt:], task)
        folds = {"strengths": [strength]}
    else:
        said, folds = _crossed(rows, gold, task)
    values = scores(gold, said[None])
    details = {"items": len(gold), "classes": len(data.names), "folds": folds}
    metrics = {name: values[name][0] for name in ("accuracy", "f1")}
    return Measured(metrics, {"accuracy": said == gold}, details, overlap(data) if learnt else "")


def _crossed(rows: np.ndarray, gold: np.ndarray, task: TransferTask) -> tuple[np.ndarray, dict[str, list[float]]]:
    """What each fold's texts are taken for by what the other folds teach; and accuracy and strength of each fold."""
    said = np.empty_like(gold)
    folds: dict[str, list[float]] = {"accuracies": [], "strengths": []}
    for learnt, judged in _folds(task.folds).split(rows, gold):
        said[judged], strength = _fitted(rows[learnt], gold[learnt], rows[judged], task)
        folds["accuracies"].append(100 * float((said[judged] == gold[judged]).mean()))
        folds["strengths"].append(strength)
    return said, folds


def _fitted(rows: np.ndarray, labels: np.ndarray, test: np.ndarray, task: TransferTask) -> tuple[np.ndarray, float]:
    """Labels of the test rows, and the strength that was best in the folds of `rows`."""
    from sklearn.linear_model import LogisticRegressionCV

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the solver's steps, and of names that scikit-learn will change
        model = LogisticRegressionCV(Cs=list(task.strengths), cv=_folds(task.folds), max_iter=MAX_ITER)
        model.fit(rows, labels)
    return model.predict(test), float(np.ravel(model.C_)[0])


def _folds(count: int) -> Any:
    from sklearn.model_selection import StratifiedKFold

    return StratifiedKFold(count, shuffle=True, random_state=FOLDS_SEED)
