"""Rows of earlier tasks that are replayed beside those of a new one: what must hold of them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from embedkit.errors import DataError
from embedkit.foreign.quoting import listed


def replayed(memory: np.ndarray | None, labels: np.ndarray | None, names: Mapping[int, str], where: str) -> list[str]:
    """What is to be said of a source whose rows say whether they are replayed.

    Args:
        memory: [n] bool; None where the rows do not say.
        labels: [n] classes, or None.
        names: what they are called.
        where: the source.

    Raises:
        DataError: a class is both in the memory and in the new task.
    """
    if memory is None:
        return []
    if not memory.any():
        return ["no row is memory: an objective on replayed rows is off, as in a first task"]
    if labels is not None:
        both = np.intersect1d(labels[memory], labels[~memory])
        if len(both):
            shown = listed([names.get(int(label), str(label)) for label in both])
            cure = "leave these rows out of the memory, or unmark them: they are rows of the new task"
            raise DataError(f"classes both in the memory and in the new task: {shown}", where, cure)
    return []
