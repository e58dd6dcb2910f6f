"""What a class keeps of the differences inside it: sums of squares within classes and within their subclasses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from embedkit.errors import DataError
from embedkit.foreign.quoting import quoted


@dataclass(frozen=True)
class Collapse:
    """How the variance of labelled embeddings is split; ours, after the argument of arXiv 2305.16536.

    With SS the sum of squared distances to a mean, of all rows, of the rows of a class, of those of a subclass:

    Attributes:
        within_class_share: SS within classes / SS of all, 0..1; 0: every class is one point. None without variance.
        subclass_share_of_within: (SS within classes - SS within subclasses) / SS within classes, 0..1: what of the
            differences inside classes tells subclasses apart; near 0 they have collapsed. None where nothing differs.
        within_over_between: SS within classes / SS between them; None where all classes have one mean.
        lone: classes with one subclass, which add nothing to the second.
    """

    within_class_share: float | None
    subclass_share_of_within: float | None
    within_over_between: float | None
    lone: int


def class_collapse(rows: np.ndarray, labels: np.ndarray, subclasses: np.ndarray) -> Collapse:
    """The split of some rows, as they are: bring them to length 1 first where the cosine compares them.

    Args:
        rows: [n, d].
        labels: [n] int from 0.
        subclasses: [n] int from 0; those of one subclass have one label (`check_nested`).
    """
    x = rows.astype(np.float64)
    total, within, inner = (_squares(x, codes) for codes in (np.zeros_like(labels), labels, subclasses))
    owners = np.unique(np.stack([labels, subclasses]), axis=1)[0]
    return Collapse(
        within_class_share=_ratio(within, total),
        subclass_share_of_within=_ratio(within - inner, within),
        within_over_between=_ratio(within, total - within),
        lone=int((np.bincount(owners) == 1).sum()),
    )


def check_nested(labels: Sequence[str], subclasses: Sequence[str], where: str) -> None:
    """Refuse subclasses that do not lie inside classes.

    Raises:
        DataError: a subclass has texts of two classes, or each class is its own only subclass.
    """
    owner: dict[str, str] = {}
    for label, subclass in zip(labels, subclasses, strict=True):
        if owner.setdefault(subclass, label) != label:
            what = f"subclass {quoted(subclass)} has texts of the classes {quoted(owner[subclass])} and {quoted(label)}"
            raise DataError(what, where, "correct the rows, or give a column whose values lie inside the labels")
    if len(owner) == len(set(labels)):
        raise DataError("every class has one subclass", where, "give a column that is finer than the label")


def _squares(x: np.ndarray, codes: np.ndarray) -> float:
    """Sum of squared distances of the rows to the mean of those with their code."""
    sums = np.zeros((int(codes.max()) + 1, x.shape[1]))
    np.add.at(sums, codes, x)
    means = sums / np.maximum(np.bincount(codes), 1)[:, None]
    return float(((x - means[codes]) ** 2).sum())


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole > 1e-12 else None
