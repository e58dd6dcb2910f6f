"""Rules about objectives that take statistics of the coordinates over a batch."""

from __future__ import annotations

from collections.abc import Iterator

from embedkit.recipe.objectives.base import leaves
from embedkit.recipe.objectives.decorrelation import WMSE, VICReg
from embedkit.recipe.planning.context import Context, objective_path, problem
from embedkit.recipe.planning.facts import SourceFacts
from embedkit.recipe.reading.problems import Problem


def _whitened(c: Context) -> Iterator[tuple[SourceFacts, WMSE, int]]:
    for source in c.sources:
        for leaf in leaves(source.objective):
            if isinstance(leaf, WMSE):
                yield source, leaf, leaf.size or c.pool


def groups_divide(c: Context) -> Iterator[Problem]:
    for source, _, size in _whitened(c):
        if c.pool % size:
            what = f"groups of {size} do not divide the {c.pool} examples that are whitened"
            yield problem((*objective_path(source), "size"), what, "use a divisor, or null: the batch")


def whitening_is_possible(c: Context) -> Iterator[Problem]:
    for source, leaf, size in _whitened(c):
        if c.width is not None and leaf.eps == 0 and size <= c.width:
            what = f"the covariance of {size} rows in {c.width} dimensions is singular, they cannot be whitened"
            cure = f"a head with {max(1, size // 2)} dimensions or fewer, more rows, or eps (0.1)"
            yield problem(objective_path(source), what, cure)


def lengths_are_free(c: Context) -> Iterator[Problem]:
    behind = c.recipe.heads or c.recipe.model.head is not None
    for source in c.sources:
        for leaf in leaves(source.objective):
            if isinstance(leaf, VICReg) and c.recipe.model.normalize is True and not behind:
                what = "coordinates of unit vectors deviate by 1 / sqrt(dimensions), far below the hinge of vicreg at 1"
                yield problem(objective_path(source), what, "add a wide one under heads, or normalize: false")


REFUSALS = [groups_divide, whitening_is_possible]
WARNINGS = [lengths_are_free]
