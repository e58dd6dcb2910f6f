"""Rules about objectives without negatives, which take statistics over a batch."""

from __future__ import annotations

from collections.abc import Iterator

from embedkit.recipe.objectives.base import leaves
from embedkit.recipe.objectives.decorrelation import WMSE, VICReg
from embedkit.recipe.objectives.self_distillation import BYOL, SwAV
from embedkit.recipe.objectives.sepclr import SepCLR
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


def codes_have_views(c: Context) -> Iterator[Problem]:
    for source in c.sources:
        views = 1 + c.slots(source)[0]
        for leaf in leaves(source.objective):
            if isinstance(leaf, SwAV) and leaf.code_views > views:
                what = f"{leaf.code_views} views have codes, and an example has {views}"
                yield problem((*objective_path(source), "code_views"), what, "lower it, or raise views.count")


def something_is_common(c: Context) -> Iterator[Problem]:
    for source in c.sources:
        for leaf in leaves(source.objective):
            if isinstance(leaf, SepCLR) and c.width is not None and leaf.salient >= c.width:
                what = f"{leaf.salient} salient coordinates of {c.width} leave none for the common part"
                yield problem((*objective_path(source), "salient"), what, f"use {max(1, c.width // 4)}")


def prototypes_are_shared(c: Context) -> Iterator[Problem]:
    for source in c.sources:
        for leaf in leaves(source.objective):
            shared = c.pool + leaf.queue if isinstance(leaf, SwAV) else 0
            if isinstance(leaf, SwAV) and 2 * leaf.prototypes > shared:
                what = f"{leaf.prototypes} prototypes are shared equally by {shared} texts, less than two each"
                yield problem((*objective_path(source), "prototypes"), what, "use fewer, or raise queue or batch_size")


def batch_norm_has_rows(c: Context) -> Iterator[Problem]:
    for source in c.sources:
        for leaf in leaves(source.objective):
            if isinstance(leaf, BYOL) and leaf.batch_norm and c.pool < 2:
                what = f"{leaf.name} normalises over the batch, and {c.pool} example is in it"
                yield problem(objective_path(source), what, "raise train.batch_size, or set batch_norm: false")


REFUSALS = [groups_divide, whitening_is_possible, codes_have_views, batch_norm_has_rows, something_is_common]
WARNINGS = [lengths_are_free, prototypes_are_shared]
