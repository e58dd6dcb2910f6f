"""Logistic regression on frozen embeddings: which texts it learns from, what it says, how often that is right."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from embedkit.data.templates import assigned
from embedkit.errors import DataError
from embedkit.evaluation.calibration import brier, expected_error
from embedkit.evaluation.content import Content, Texts
from embedkit.evaluation.kinds.base import SEED
from embedkit.foreign.quoting import quoted
from embedkit.recipe.columns import TrainColumns
from embedkit.recipe.templates import TEXT, TemplateRange, filled
from embedkit.types import Groups

MAX_ITER = 100
"""Of the solver, as in mteb."""


@dataclass(frozen=True)
class Labelled:
    """Labelled texts with the draws that are learnt from.

    Attributes:
        content: of the files.
        draws: texts per class -> for each draw the places of its texts in `content.train`; -1: all of them.
        prompts: templates around the texts; None: none.
    """

    content: Content
    draws: dict[int, list[np.ndarray]]
    prompts: TemplateRange | None = None

    @property
    def digest(self) -> str:
        """Content hash, with what is drawn."""
        drawn = f"{self.content.digest} {', '.join(f'{shots} x {len(own)}' for shots, own in self.draws.items())}"
        return drawn if self.prompts is None else f"{drawn} {self.prompts.model_dump_json()}"

    @property
    def wordings(self) -> list[str]:
        """Templates of the test texts, the held-out ones last."""
        return [TEXT] if self.prompts is None else [*self.prompts.seen, *self.prompts.unseen]

    @property
    def used(self) -> np.ndarray:
        """Places of all texts that some draw learns from, ascending."""
        return np.unique(np.concatenate([draw for draws in self.draws.values() for draw in draws]))

    @property
    def groups(self) -> Groups | None:
        """Of the test texts."""
        return self.content.groups

    @property
    def texts(self) -> Texts:
        """The training texts of `used`, and all test texts in every template."""
        train, test = self.content.train["text"], self.content.test["text"]
        if self.prompts is not None:
            _, of_text = assigned(len(self.prompts.seen), len(train), seed=SEED)
            train = [filled(self.prompts.seen[t], text, "") for t, text in zip(of_text, train, strict=True)]
        judged = [filled(template, text, "") for template in self.wordings for text in test]
        return [([*(train[i] for i in self.used.tolist()), *judged], "query")]


def check_enough(content: Content, wanted: int, task: TrainColumns) -> None:
    """Refuse to draw more texts of a class than there are.

    Raises:
        DataError: with the class and its count.
    """
    counts = Counter(content.train["label"])
    label, least = min(counts.items(), key=lambda item: item[1])
    if least < wanted:
        short = sum(count < wanted for count in counts.values())
        what = f"class {quoted(content.names[label])} has {least} texts to learn from, {wanted} are drawn per class"
        what += f" ({short} classes have fewer)" if short > 1 else ""
        raise DataError(what, ", ".join(task.train), f"ask for at most {least}, or add texts of the class")


def drawn(labels: Sequence[int], shots: Sequence[int], draws: int) -> dict[int, list[np.ndarray]]:
    """The first texts of each class in an order that is shuffled anew for every draw, as mteb draws them.

    mteb begins every shuffle with the same random numbers, but goes on from the order before.

    Args:
        labels: of the texts.
        shots: numbers of texts per class; those of a smaller number are among those of a larger one.
        draws: how many.

    Returns:
        For each number the places of the texts of every draw, in the order of the draw.
    """
    order = list(range(len(labels)))
    found: dict[int, list[np.ndarray]] = {number: [] for number in shots}
    for _ in range(draws):
        np.random.RandomState(SEED).shuffle(order)
        seen: Counter[int] = Counter()
        nth = np.empty(len(order), np.int64)  # how many texts of its class stand before each
        for place, i in enumerate(order):
            nth[place] = seen[labels[i]]
            seen[labels[i]] += 1
        for number in shots:
            found[number].append(np.array(order)[nth < number])
    return found


@dataclass(frozen=True)
class Answers:
    """What classifiers said of the test texts.

    Attributes:
        said: [draws, n] labels.
        brier: [draws, n], see `embedkit.evaluation.calibration`.
        ece: [draws] expected calibration errors.
        unconverged: classifiers whose solver stopped at its last iteration.
    """

    said: np.ndarray
    brier: np.ndarray
    ece: list[float]
    unconverged: int


def probe(
    rows: np.ndarray, labels: np.ndarray, test: np.ndarray, draws: Sequence[np.ndarray], gold: np.ndarray
) -> Answers:
    """Fit a logistic regression (L2, C = 1, embeddings as they are) on each draw.

    Args:
        rows: [m, d] embeddings of the training texts.
        labels: [m].
        test: [n, d].
        draws: places among the m of each draw; each has some of every class.
        gold: [n] right labels, 0 to the number of classes.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    said, errors, ece, unconverged = [], [], [], 0
    for draw in draws:
        with warnings.catch_warnings(record=True) as raised:
            warnings.simplefilter("always")
            model = LogisticRegression(max_iter=MAX_ITER, random_state=SEED).fit(rows[draw], labels[draw])
        unconverged += any(issubclass(w.category, ConvergenceWarning) for w in raised)
        said.append(model.predict(test))
        probabilities = model.predict_proba(test)
        errors.append(brier(probabilities, gold))
        ece.append(expected_error(probabilities.max(axis=1), said[-1] == gold))
    return Answers(np.array(said), np.array(errors), ece, unconverged)


def scores(gold: np.ndarray, said: np.ndarray) -> dict[str, list[float]]:
    """Accuracy, F1, precision and recall (means over classes, F1 also weighted by their sizes) of each draw.

    Args:
        gold: [n].
        said: [draws, n].
    """
    from sklearn.metrics import f1_score, precision_score, recall_score

    options: dict[str, Any] = {"average": "macro", "zero_division": 0}
    return {
        "accuracy": [float((own == gold).mean()) for own in said],
        "f1": [float(f1_score(gold, own, **options)) for own in said],
        "f1_weighted": [float(f1_score(gold, own, average="weighted", zero_division=0)) for own in said],
        "precision": [float(precision_score(gold, own, **options)) for own in said],
        "recall": [float(recall_score(gold, own, **options)) for own in said],
    }


def over_draws(values: Sequence[float]) -> dict[str, Any]:
    """Mean of the draws in points, its 95 % interval (Student's t), and their standard deviation."""
    from scipy.stats import t

    found = 100 * np.array(values)
    if len(found) < 2:
        return {"values": found.tolist(), "mean": float(found.mean())}
    spread = float(found.std(ddof=1))
    half = float(t.ppf(0.975, len(found) - 1)) * spread / len(found) ** 0.5
    mean = float(found.mean())
    return {"values": found.tolist(), "mean": mean, "sd": spread, "interval": [mean - half, mean + half]}


def spread(values: np.ndarray) -> dict[str, float]:
    """Mean, worst and standard deviation of several accuracies, in points."""
    found = 100 * values
    deviation = float(found.std(ddof=1)) if len(found) > 1 else 0.0
    return {"mean": float(found.mean()), "worst": float(found.min()), "sd": deviation}


def overlap(content: Content) -> str:
    """What to say of test texts that are among the training texts too, but for case and spaces; empty without any."""

    def plain(text: str) -> str:
        return " ".join(text.casefold().split())

    known = {plain(text) for text in content.train["text"]}
    both = [text for text in content.test["text"] if plain(text) in known]
    if not both:
        return ""
    count = len(content.test["text"])
    return f"{len(both):,} of {count:,} test texts are among the training texts too, first {quoted(both[0])}"
