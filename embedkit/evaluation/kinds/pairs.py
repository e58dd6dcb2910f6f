"""Pair classification: whether the similarity tells pairs that match from pairs that do not."""

from __future__ import annotations

from typing import Any

import numpy as np

from embedkit.evaluation import similarity
from embedkit.evaluation.calibration import by_similarity
from embedkit.evaluation.content import Content, read_columns
from embedkit.evaluation.kinds.base import Measured
from embedkit.evaluation.metrics import codes, pair_metrics
from embedkit.evaluation.side import Side
from embedkit.recipe.kinds import PairTask


def read(task: PairTask) -> Content:
    """Read the files.

    Raises:
        DataError: see `embedkit.evaluation.content`.
    """
    return read_columns(task)


def measure(side: Side, task: PairTask, data: Content) -> Measured:
    """Average precision and others of `metrics.pair_metrics`; the item of an interval is the pair."""
    ((texts, role),) = data.texts
    found, place = side.encode(texts, role)
    name = similarity.chosen(task.similarity, side.encoder)
    rows, match = similarity.prepared(name, found), np.array(data.test["label"])
    first, second = np.split(place, 2)
    compared = similarity.paired(name, rows[first], rows[second])
    return judged(compared, match, {"similarity": name})


def judged(compared: np.ndarray, match: np.ndarray, details: dict[str, Any]) -> Measured:
    """The metrics of similarities [n] of pairs of which those in `match` [n] match; `details` are added to."""
    own = {"items": len(match), "matching": int(match.sum()), "calibration": by_similarity(compared, match)}
    found = pair_metrics(codes(compared), match)
    return Measured(found, {"similarity": compared, "match": match}, own | details)
