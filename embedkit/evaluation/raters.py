"""Graded labels of several raters: read, checked, and freed of what the raters' severity adds to them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from embedkit.errors import DataError, RecipeError
from embedkit.evaluation import rasch
from embedkit.evaluation.content import label_of, rows
from embedkit.evaluation.files import Row, column, text_column
from embedkit.evaluation.rasch import Estimate, Ratings
from embedkit.foreign.quoting import listed, quoted
from embedkit.inputs.texts import as_number

ERRATIC, UNIFORM = 1.5, 0.5
"""Usual limits of a rater's infit."""
MOST_GRADE = 1000
"""Distance of the highest grade from the lowest; more is no scale of grades."""


@dataclass(frozen=True)
class Table:
    """A table of grades.

    Attributes:
        texts: what was graded: a text, or several that belong together.
        items, raters: names.
        ratings: by their places.
        where: for messages.
    """

    texts: list[tuple[str, ...]]
    items: list[str]
    raters: list[str]
    ratings: Ratings
    where: str


@dataclass(frozen=True)
class Corrected:
    """Grades without the raters' severity.

    Attributes:
        table: what was read.
        estimate: of the model.
        infit, outfit: [R], see `rasch.misfit`.
        extreme: how many texts, and how many raters, have nothing but the lowest or nothing but the highest grade.
        apart: standard deviation of the grades of one text around their mean: as given, and corrected.
    """

    table: Table
    estimate: Estimate
    infit: np.ndarray
    outfit: np.ndarray
    extreme: tuple[int, int]
    apart: tuple[float, float]

    def rows(self, names: Sequence[str]) -> Iterator[dict[str, Any]]:
        """One row for each text, with the columns `names` of its texts.

        ``score`` is the grade that a mean rater is expected to give, ``level`` the same in logits, ``error`` the
        standard error of the level, ``weight`` 1 / error^2 over its mean, ``given`` the plain mean, ``ratings`` their
        number.
        """
        found, data = self.estimate, self.table.ratings
        count = np.bincount(data.text)
        given = np.bincount(data.text, data.rating) / count + data.low
        precision = found.error**-2
        columns = {
            "score": found.fair() + data.low,
            "level": found.text,
            "error": found.error,
            "weight": precision / precision.mean(),
            "given": given,
        }
        for i, texts in enumerate(self.table.texts):
            numbers = {name: round(float(values[i]), 6) for name, values in columns.items()}
            yield dict(zip(names, texts, strict=True)) | numbers | {"ratings": int(count[i])}

    def report(self) -> dict[str, Any]:
        """Raters with severity, infit, outfit and number of grades; items; thresholds; what to know."""
        data, found = self.table.ratings, self.estimate
        count = np.bincount(data.rater)
        raters = [
            {
                "rater": name,
                "ratings": int(count[i]),
                "severity": float(found.rater[i]),
                "infit": float(self.infit[i]),
                "outfit": float(self.outfit[i]),
            }
            for i, name in enumerate(self.table.raters)
        ]
        return {
            "texts": len(self.table.texts),
            "ratings": len(data.rating),
            "raters": raters,
            "items": {name: float(found.item[i]) for i, name in enumerate(self.table.items)},
            "thresholds": found.steps.tolist(),
            "extreme": dict(zip(("texts", "raters"), self.extreme, strict=True)),
            "apart": dict(zip(("given", "corrected"), self.apart, strict=True)),
        }


def read(file: Path, texts: Sequence[str], rater: str, rating: str, item: str | None) -> Table:
    """Read a table with a row for each grade.

    Args:
        file: TSV, CSV, JSONL or Parquet.
        texts: columns of what was graded.
        rater, rating: columns.
        item: column of the question that was asked; None: it was one.

    Raises:
        DataError: a wrong row, a grade between the others that is never given, or raters who cannot be compared.
        RecipeError: one rater alone.
    """
    places: tuple[dict[Any, int], dict[str, int], dict[str, int]] = ({}, {}, {})
    codes: list[tuple[int, ...]] = []
    grades: list[int] = []
    for row in rows([str(file)], [*texts, rater, rating, *([item] if item is not None else [])]):
        keys = (
            tuple(text_column(row, name) for name in texts),
            "" if item is None else label_of(column(row, item), item, row),
            label_of(column(row, rater), rater, row),
        )
        codes.append(tuple(own.setdefault(key, len(own)) for own, key in zip(places, keys, strict=True)))
        grades.append(_grade(row, rating))
    if len(places[2]) < 2:
        what = f"all grades are of one rater, {quoted(next(iter(places[2])))}"
        raise RecipeError(what, "--rater", "severity is the difference between raters: give the grades of several")
    text, each, who = np.array(codes).T
    found = Ratings(text, each, who, np.array(grades) - min(grades), min(grades))
    table = Table(list(places[0]), list(places[1]), list(places[2]), found, str(file))
    _check_used(table)
    _check_connected(table)
    return table


def corrected(table: Table, spread: float = 3.0) -> Corrected:
    """Estimate the model of a table from `read`; `spread` as in `rasch.estimate`."""
    data = table.ratings
    found = rasch.estimate(data, spread)
    expected, variance = rasch.moments(rasch.probabilities(found.levels(data), found.steps))
    infit, outfit = rasch.misfit(data, expected, variance)
    given = data.rating.astype(np.float64)
    apart = (_within(given, data.text), _within(given - expected + found.fair()[data.text], data.text))
    return Corrected(table, found, infit, outfit, (_extreme(data, data.text), _extreme(data, data.rater)), apart)


def _grade(row: Row, name: str) -> int:
    value = column(row, name)
    number = as_number(value)
    if number is None or not number.is_integer():
        raise DataError(f"{name}: expected a whole number, got {quoted(value)}", row[0], "correct the row or remove it")
    return int(number)


def _check_used(table: Table) -> None:
    data = table.ratings
    if data.steps > MOST_GRADE:
        what = f"grades reach from {data.low} to {data.low + data.steps}: that is no scale of grades"
        raise DataError(what, table.where, "round them to a few categories")
    count = np.bincount(data.rating)
    if len(count) < 2:
        raise DataError(f"all grades are {data.low}", table.where, "there is nothing to estimate")
    if never := [str(data.low + k) for k in np.flatnonzero(count == 0)]:
        what = f"no grade is {listed(never)}, between {data.low} and {data.low + data.steps}"
        raise DataError(what, table.where, "number the grades that are given without gaps")


def _check_connected(table: Table) -> None:
    """Refuse facets of which one part is never seen with the other: their difference is not defined."""
    data = table.ratings
    several = len(table.items) > 1
    pairs = [(data.rater, table.raters, data.text, "raters", "texts")]
    if several:
        pairs.append((data.item, table.items, data.text, "items", "texts"))
        pairs.append((data.rater, table.raters, data.item, "raters", "items"))
    for codes, names, others, kind, shared in pairs:
        parts = _parts(codes, others)
        if parts.max() > 0:
            groups = [[name for name, part in zip(names, parts, strict=True) if part == k] for k in (0, 1)]
            what = f"{parts.max() + 1} groups of {kind} share no {shared}: {listed(groups[0])}; {listed(groups[1])}"
            cure = f"have some {shared} graded in both groups, or correct each group alone"
            raise DataError(f"{what}{'; ...' if parts.max() > 1 else ''}", table.where, cure)


def _parts(codes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """For every value of `codes` [n] the number of its connected part, where rows connect codes and others."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    size = int(codes.max()) + 1
    n = size + int(others.max()) + 1
    graph = coo_array((np.ones(len(codes)), (codes, others + size)), shape=(n, n))
    found: np.ndarray = connected_components(graph, directed=False)[1][:size]
    return np.unique(found, return_inverse=True)[1]


def _extreme(data: Ratings, codes: np.ndarray) -> int:
    total = np.bincount(codes)
    return sum(int((np.bincount(codes, data.rating == end) == total).sum()) for end in (0, data.steps))


def _within(values: np.ndarray, codes: np.ndarray) -> float:
    count = np.bincount(codes)
    means = np.bincount(codes, values) / count
    free = len(values) - len(count)
    return float(np.sqrt(((values - means[codes]) ** 2).sum() / free)) if free else 0.0
