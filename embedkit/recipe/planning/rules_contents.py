"""Rules about what the rows of a source hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from embedkit.recipe.objectives.base import leaves, needs
from embedkit.recipe.objectives.scored import CosineMSE
from embedkit.recipe.planning.context import Context, place, problem
from embedkit.recipe.pool import largest_remainder
from embedkit.recipe.reading.problems import Problem

MANY = 0.5
"""Share of masked in-batch negatives from which a warning is due."""


_USED = (
    ("score", "pairs of low score train like the others", "cosent, angle or cosine_mse"),
    ("label", "it has no effect", "supcon"),
    ("memory", "replayed rows train like the others", "replay_supcon in a sum"),
)
"""Roles that an objective may leave alone, what comes of it, and which objectives use them."""


def negatives_differ(c: Context) -> Iterator[Problem]:
    for source in c.sources:
        held = source.contents
        in_batch = any(leaf.in_batch for leaf in leaves(source.objective))
        if held is None or not in_batch or held.rows < 2 or held.matching < MANY:
            continue
        all_of_them = "all" if held.matching > 1 - 1e-9 else f"{held.matching:.0%} of the"
        what = (
            f"rows of {source.name} share their query or positive so often that {all_of_them} in-batch negatives are "
            "masked as known matches; a row without negatives has loss 0 and no gradient"
        )
        cure = "check the columns in roles, give explicit negatives, or use an objective on labels (supcon) or scores"
        yield problem(place(source), what, cure)


def scores_fit_the_cosine(c: Context) -> Iterator[Problem]:
    for source in c.sources:
        held = source.contents
        if held is None or held.scores is None:
            continue
        low, high = held.scores
        if any(isinstance(leaf, CosineMSE) for leaf in leaves(source.objective)) and (low < -1 or high > 1):
            what = f"cosine_mse compares scores with cosines, and those of {source.name} go from {low:g} to {high:g}"
            yield problem(place(source, "roles"), what, f"bring them to 0..1, here score / {high:g}, or use cosent")


def roles_are_used(c: Context) -> Iterator[Problem]:
    for source in c.sources:
        for role, effect, other in _USED:
            if source.gives(role) is True and role not in needs(source.objective) and source.roles is not None:
                what = f"{source.name} gives the role {role}, which {source.objective.name} does not use: {effect}"
                yield problem(place(source, "roles"), what, f"use {other}, or leave the column out of the data")


def every_source_has_a_turn(c: Context) -> Iterator[Problem]:
    weights = [s.config.weight for s in c.sources]
    if c.updates is None or len(weights) < 2:
        return
    size = c.recipe.train.batch_size
    shares = [(s.config.repeat or 1) * (s.rows // size) if s.rows else 0 for s in c.sources]
    known = [w for w in weights if w is not None]
    if len(known) == len(weights):
        shares = known  # type: ignore[assignment]
    elif any(s.rows is None for s in c.sources) or not sum(shares):
        return
    counts = largest_remainder(shares, c.updates * c.recipe.train.accumulation)
    for source, count in zip(c.sources, counts, strict=True):
        if count == 0:
            what = f"{source.name} gets no batch in {c.updates:,} updates"
            yield problem(place(source, "weight"), what, "raise its weight or train.steps, or remove it")


REFUSALS: list[Callable[[Context], Iterator[Problem]]] = []
WARNINGS = [negatives_differ, scores_fit_the_cosine, roles_are_used, every_source_has_a_turn]
