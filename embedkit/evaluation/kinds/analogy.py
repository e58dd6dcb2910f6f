"""Analogies: whether the pairs of one relation have parallel offsets (CWM, arXiv 2306.08221)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from embedkit.errors import DataError
from embedkit.evaluation import similarity
from embedkit.evaluation.content import Texts, digest_of, label_of, rows
from embedkit.evaluation.files import column, text_column
from embedkit.evaluation.kinds.base import SEED, Measured, means
from embedkit.evaluation.noise import steady
from embedkit.evaluation.side import Side
from embedkit.foreign.quoting import quoted
from embedkit.recipe.kinds import AnalogyTask

FEWEST = 3
"""Pairs of a relation: with two, those that are dealt anew are the two that there are."""


@dataclass(frozen=True)
class Related:
    """Pairs of texts by relation.

    Attributes:
        first, second: [n] texts.
        relation: [n] place of the relation in `relations`.
        relations: names.
        digest: content hash.
    """

    first: list[str]
    second: list[str]
    relation: np.ndarray
    relations: tuple[str, ...]
    digest: str

    @property
    def texts(self) -> Texts:
        """First texts, then second ones."""
        return [([*self.first, *self.second], "query")]


def read(task: AnalogyTask) -> Related:
    """Read the files.

    Raises:
        DataError: a wrong row, a pair of one text, a pair twice in a relation, or a relation of fewer than three pairs.
    """
    first: list[str] = []
    second: list[str] = []
    names: list[str] = []
    seen: set[tuple[str, str, str]] = set()
    for row in rows(task.files, (task.first, task.second, task.relation)):
        a, b = text_column(row, task.first), text_column(row, task.second)
        name = label_of(column(row, task.relation), task.relation, row)
        if a == b:
            raise DataError(f"both texts are {quoted(a)}: there is no offset", row[0], "remove the row")
        if (name, a, b) in seen:
            raise DataError(f"{quoted(a)}, {quoted(b)} are given twice as {quoted(name)}", row[0], "keep one row")
        seen.add((name, a, b))
        first, second, names = [*first, a], [*second, b], [*names, name]
    relations = tuple(dict.fromkeys(names))
    for name in relations:
        if names.count(name) < FEWEST:
            what = f"relation {quoted(name)} has {names.count(name)} pairs: {FEWEST} are needed"
            raise DataError(what, ", ".join(task.files), "add pairs, or remove the relation")
    place = {name: i for i, name in enumerate(relations)}
    digest = digest_of({"first": first, "second": second, "relation": names})
    return Related(first, second, np.array([place[name] for name in names]), relations, digest)


def measure(side: Side, task: AnalogyTask, data: Related) -> Measured:
    """Consistency, alignment and accuracy, means over the pairs of all relations; an item is a pair."""
    ((texts, role),) = data.texts
    found, place = side.encode(texts, role)
    name = similarity.chosen(task.similarity, side.encoder)
    vectors = similarity.prepared(name, found).astype(np.float64)
    first, second = np.split(place, 2)
    units = {metric: np.empty(len(first)) for metric in task.metrics}
    for relation in range(len(data.relations)):
        own = np.flatnonzero(data.relation == relation)
        a, b = first[own], second[own]
        others = dealt(len(own), task.shuffles, np.random.default_rng([SEED, relation]))
        units["consistency"][own] = consistency(vectors[a], vectors[b], others)
        units["alignment"][own] = alignment(vectors[b] - vectors[a])
        units["accuracy"][own] = completions(vectors, a, b)
    by_relation = {
        label: 100 * float(units["consistency"][data.relation == i].mean()) for i, label in enumerate(data.relations)
    }
    details = {"items": len(first), "relations": by_relation, "similarity": name}
    return Measured(means(units), units, details)


def directions(rows: np.ndarray) -> np.ndarray:
    """Rows [n, d] at length 1, in their own precision; a row of zeros stays so."""
    found: np.ndarray = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return found


def alignment(offsets: np.ndarray) -> np.ndarray:
    """Inner product of each unit offset with the mean of the unit offsets, [n]; that of n random directions is 1 / n.

    Args:
        offsets: [n, d]; one of length 0 has no direction, and the value 0.
    """
    units = directions(offsets)
    values: np.ndarray = units @ units.mean(axis=0)
    return values


def offset_similarities(offsets: np.ndarray) -> np.ndarray:
    """Cosines of all pairs of offsets [n, d]: the upper triangle, row by row."""
    units = directions(offsets)
    values: np.ndarray = (units @ units.T)[np.triu_indices(len(units), 1)]
    return values


def dealt(n: int, times: int, rng: np.random.Generator) -> np.ndarray:
    """[times, n] orders of n second texts, in which no pair stays together."""
    found = np.empty((times, n), np.int64)
    for row in found:
        order = rng.permutation(n)
        row[order] = np.roll(order, 1)
    return found


def consistency(first: np.ndarray, second: np.ndarray, others: np.ndarray) -> np.ndarray:
    """For each pair the share of comparisons that its offset wins, [n]; the mean is an area under the curve.

    Compared are the cosines of its offset to those of the other pairs with all cosines between the offsets of pairs
    that were dealt anew; ties count half. So a relation that has a direction has 1, any other about 1/2.

    Args:
        first, second: [n, d] of the pairs of a relation.
        others: [times, n], see `dealt`.
    """
    units = directions(second - first)
    chance = np.sort(steady(np.concatenate([offset_similarities(second[order] - first) for order in others]), 1.0))
    own = steady(units @ units.T, 1.0)
    below = np.searchsorted(chance, own, "left") + np.searchsorted(chance, own, "right")
    np.fill_diagonal(below, 0)
    values: np.ndarray = below.sum(axis=1) / (2 * len(chance) * (len(own) - 1))
    return values


def completions(vectors: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """For each pair (c, d) the share of the other pairs (a, b) by which d is found: nearest to b - a + c, [n].

    The nearest by cosine of all texts but a, b and c (the test of word2vec); a tie is not found. A pair whose d is the
    b of all others has 0.

    Args:
        vectors: [u, d] of all texts.
        first, second: [n] places of the pairs of one relation.
    """
    units = directions(vectors)
    right = np.zeros(len(first))
    for c, d, place in zip(first, second, range(len(first)), strict=True):
        others = (np.arange(len(first)) != place) & (second != d)
        a, b = first[others], second[others]
        scores = steady(directions(vectors[b] - vectors[a] + vectors[c]) @ units.T, 1.0)
        rows, own = np.arange(len(a)), scores[:, d].copy()
        for known in (a, b, np.full(len(a), c), np.full(len(a), d)):
            scores[rows, known] = -np.inf
        right[place] = (own > scores.max(axis=1)).mean() if len(a) else 0.0
    return right
