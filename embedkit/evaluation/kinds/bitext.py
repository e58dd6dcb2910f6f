"""Bitext mining: each text looks for its translation among all."""

from __future__ import annotations

import numpy as np

from embedkit.evaluation import similarity
from embedkit.evaluation.content import Content, read_columns
from embedkit.evaluation.kinds.base import Measured, means
from embedkit.evaluation.kinds.nearest import nearest
from embedkit.evaluation.side import Side
from embedkit.recipe.kinds import BitextTask


def read(task: BitextTask) -> Content:
    """Read the files.

    Raises:
        DataError: see `embedkit.evaluation.content`.
    """
    return read_columns(task)


def measure(side: Side, task: BitextTask, data: Content) -> Measured:
    """F1, accuracy and precision over the pairs, each pair a class of its own; the item of an interval is the pair."""
    ((texts, role),) = data.texts
    found, place = side.encode(texts, role)
    name = similarity.chosen(task.similarity, side.encoder)
    rows = similarity.prepared(name, found)
    first, second = np.split(place, 2)
    units = bitext_items(nearest(rows[first], rows[second], similarity.between(name)))
    details = {"items": len(first), "similarity": name}
    seconds = data.test["second"]
    repeated = len(seconds) - len(set(seconds))
    note = f"{repeated:,} second texts are those of an earlier pair too, which is taken for theirs" if repeated else ""
    return Measured(means(units), units, details, note)


def bitext_items(said: np.ndarray) -> dict[str, np.ndarray]:
    """Values of every pair, whose means are what scikit-learn's weighted metrics give, each pair being a class.

    With ``n_i`` texts that take the second text of pair i for theirs, and ``t_i`` = 1 where the first of pair i does:
    precision ``t_i / n_i``, recall ``t_i``, F1 ``2 t_i / (1 + n_i)``.

    Args:
        said: [n], the pair whose second text was found nearest to the first text of each.
    """
    taken = np.bincount(said, minlength=len(said))
    hit = (said == np.arange(len(said))).astype(np.float64)
    return {"f1": 2 * hit / (1 + taken), "accuracy": hit, "precision": hit / np.maximum(taken, 1)}
