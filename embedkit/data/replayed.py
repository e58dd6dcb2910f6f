"""Rows of earlier tasks that are replayed beside those of a new one: what must hold of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from embedkit.errors import DataError
from embedkit.foreign.quoting import listed
from embedkit.types import Example

NONE = "no row is memory: an objective on replayed rows is off, as in a first task"


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
        return [NONE]
    if labels is not None:
        both = np.intersect1d(labels[memory], labels[~memory])
        if len(both):
            raise _both([names.get(int(label), str(label)) for label in both], where)
    return []


class ReplayedStream:
    """The same of rows that come one by one, where a class on both sides shows when its second side is met.

    Holds the classes, not the rows, and keeps them from pass to pass.

    Args:
        where: the source.
    """

    def __init__(self, where: str) -> None:
        self._where = where
        self._names: dict[int, str] = {}
        self._sides: dict[bool, set[int]] = {True: set(), False: set()}
        self.marked = False

    def named(self, label: int, name: str) -> int:
        """Remember what a class is called; returns the class."""
        self._names[label] = name
        return label

    def see(self, example: Example, place: str) -> None:
        """Look at a row.

        Args:
            example: the row.
            place: where it stands.

        Raises:
            DataError: its class is both in the memory and in the new task.
        """
        if example.memory is None:
            return
        self.marked = self.marked or example.memory
        if example.label is not None:
            self._sides[example.memory].add(example.label)
            if example.label in self._sides[not example.memory]:
                raise _both([self._names.get(example.label, str(example.label))], place)


def _both(names: Sequence[str], where: str) -> DataError:
    cure = "leave these rows out of the memory, or unmark them: they are rows of the new task"
    return DataError(f"classes both in the memory and in the new task: {listed(names)}", where, cure)
