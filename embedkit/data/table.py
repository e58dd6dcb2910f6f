"""Examples held compactly in memory: texts in Arrow columns, ids in numpy arrays."""

from __future__ import annotations

import re
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from embedkit.data.text import text_id
from embedkit.types import Example

_CHUNK = 65_536
_WHOLE = re.compile(r"0|-?[1-9][0-9]{0,17}")
_TYPES = {
    "query": pa.large_string(),
    "positives": pa.large_list(pa.large_string()),
    "negatives": pa.large_list(pa.large_string()),
    "scores": pa.large_list(pa.float64()),
    "weights": pa.large_list(pa.float64()),
}


class Place(NamedTuple):
    """Where an example comes from: ``name:line``, ``name[index]``, or just ``name``."""

    name: str
    line: int = 0  # 0: no line; below 0: index -line - 1

    @classmethod
    def at_index(cls, name: str, index: int) -> Place:
        return cls(name, -index - 1)

    def __str__(self) -> str:
        if self.line < 0:
            return f"{self.name}[{-self.line - 1}]"
        return f"{self.name}:{self.line}" if self.line else self.name


class Table:
    """Examples by position.

    Every example comes back with `known`: the ids of all positives that any example of the table gives for the
    same query text. Built by `TableBuilder`.

    Attributes:
        max_negatives: the most negatives an example has.
        clusters: [n] of the rows, where they have them; the examples come back without.
        memory: [n] bool, which rows are replayed, where they say so.
    """

    def __init__(
        self,
        columns: dict[str, pa.Array],
        labels: np.ndarray | None,
        places: tuple[tuple[str, ...], np.ndarray, np.ndarray],
        pairs: tuple[np.ndarray, np.ndarray],
        max_negatives: int,
    ) -> None:
        self._columns, self._labels, self._pairs, self.max_negatives = columns, labels, pairs, max_negatives
        self._names, self._name, self._line = places
        self.clusters: np.ndarray | None = None
        self.memory: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self._columns["query"])

    @property
    def labels(self) -> np.ndarray | None:
        """[n] classes, where the rows have them."""
        return self._labels

    def get(self, positions: Sequence[int]) -> list[Example]:
        """The examples at `positions`, in that order."""
        index = pa.array(positions, type=pa.int64())
        taken = [self._columns[name].take(index).to_pylist() for name in _TYPES]
        return [
            Example(
                query,
                tuple(positives),
                tuple(negatives),
                tuple(scores),
                None if self._labels is None else int(self._labels[position]),
                self._known(query) if positives else (),
                str(Place(self._names[self._name[position]], int(self._line[position]))),
                tuple(weights),
                memory=None if self.memory is None else bool(self.memory[position]),
            )
            for position, query, positives, negatives, scores, weights in zip(positions, *taken, strict=True)
        ]

    def _known(self, query: str) -> tuple[int, ...]:
        queries, positives = self._pairs
        query_id = text_id(query)
        start, end = (int(np.searchsorted(queries, query_id, side=side)) for side in ("left", "right"))
        return tuple(positives[start:end].tolist())


@dataclass
class Classes:
    """Numbers for labels, which are texts as written.

    If all of them are whole numbers as Python writes them (``7``, ``-2``, not ``007``), their value is their number.
    Otherwise the sorted distinct texts are numbered from 0. Which rows share a class is the same either way.
    """

    seen: dict[str, int] = field(default_factory=dict)

    def code(self, label: str) -> int:
        """A provisional number: the order of first sight."""
        return self.seen.setdefault(label, len(self.seen))

    def final(self) -> np.ndarray:
        """[labels seen] the final number of every provisional one."""
        if all(map(is_whole, self.seen)):
            return np.array([int(label) for label in self.seen], dtype=np.int64)
        order = {name: i for i, name in enumerate(sorted(self.seen))}
        return np.array([order[label] for label in self.seen], dtype=np.int64)


def is_whole(text: str) -> bool:
    """Whether `text` is a whole number as Python writes it, of at most 18 digits."""
    return _WHOLE.fullmatch(text) is not None


class TableBuilder:
    """Takes examples one by one; `finish` gives the table."""

    def __init__(self) -> None:
        self._pending: dict[str, list[object]] = {name: [] for name in _TYPES}
        self._chunks: dict[str, list[pa.Array]] = {name: [] for name in _TYPES}
        self._labels, self._queries, self._positives = array("q"), array("q"), array("q")
        self._clusters, self._memory = array("q"), array("b")
        self._names: dict[str, int] = {}
        self._name, self._line = array("i"), array("q")
        self._max_negatives = 0

    def __len__(self) -> int:
        return len(self._line)

    def add(self, example: Example, place: Place) -> None:
        """Append an example; its `origin` and `known` are not kept, `place` is."""
        pending = self._pending
        pending["query"].append(example.query)
        pending["positives"].append(example.positives)
        pending["negatives"].append(example.negatives)
        pending["scores"].append(example.scores)
        pending["weights"].append(example.weights)
        if example.label is not None:
            self._labels.append(example.label)
        if example.cluster is not None:
            self._clusters.append(example.cluster)
        if example.memory is not None:
            self._memory.append(example.memory)
        query = text_id(example.query) if example.positives else 0
        for positive in example.positives:
            self._queries.append(query)
            self._positives.append(text_id(positive))
        self._max_negatives = max(self._max_negatives, len(example.negatives))
        self._name.append(self._names.setdefault(place.name, len(self._names)))
        self._line.append(place.line)
        if len(pending["query"]) == _CHUNK:
            self._flush()

    def finish(self, classes: Classes | None = None) -> Table:
        """The table of everything added; `classes` gives labels their final numbers."""
        self._flush()
        columns = {name: pa.concat_arrays(self._chunks.pop(name)) for name in _TYPES}
        labels = np.array(self._labels, dtype=np.int64) if self._labels else None
        if labels is not None and classes is not None:
            labels = classes.final()[labels]
        table = Table(
            columns,
            labels,
            (tuple(self._names), np.array(self._name, dtype=np.int32), np.array(self._line, dtype=np.int64)),
            _distinct_pairs(np.array(self._queries, dtype=np.int64), np.array(self._positives, dtype=np.int64)),
            self._max_negatives,
        )
        if self._clusters:
            table.clusters = np.array(self._clusters, dtype=np.int64)
        if self._memory:
            table.memory = np.array(self._memory, dtype=bool)
        return table

    def _flush(self) -> None:
        for name, values in self._pending.items():
            self._chunks[name].append(pa.array(values, type=_TYPES[name]))
            values.clear()


def _distinct_pairs(queries: np.ndarray, positives: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distinct (query id, positive id) pairs, sorted by query and then by positive."""
    order = np.lexsort((positives, queries))
    queries, positives = queries[order], positives[order]
    new = np.ones(len(order), dtype=bool)
    new[1:] = (queries[1:] != queries[:-1]) | (positives[1:] != positives[:-1])
    return queries[new], positives[new]
