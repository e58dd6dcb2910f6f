"""Counting: the rows of an example, and the negatives that a query really sees."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from embedkit.recipe.objectives.base import ObjectiveConfig, needs
from embedkit.recipe.objectives.contrastive import InfoNCE, softmaxes
from embedkit.recipe.objectives.dclr import DCLR
from embedkit.recipe.objectives.debiased import Debiased
from embedkit.recipe.objectives.mixing import MixedNegatives, MoCHi
from embedkit.recipe.objectives.penalty import CLP
from embedkit.recipe.objectives.wrappers import ViewPairs

if TYPE_CHECKING:
    from embedkit.recipe.schema import Recipe


def negatives_per_query(asked: int | None, *, needed: bool, given: bool) -> int:
    """Explicit negatives per query and step (M): what the recipe asks for, else 1 where there are any.

    Args:
        asked: `negatives.per_query`.
        needed: whether the objective needs negatives.
        given: whether the source has some.
    """
    return asked if asked is not None else int(needed or given)


def is_mined(recipe: Recipe, roles: Collection[str], objective: ObjectiveConfig) -> bool:
    """Whether a source with these roles and this objective gets its negatives from the `mining` block.

    Graded pairs do not: their second text is no answer, and their objective wants no negatives.
    """
    if recipe.mining is None or not {"query", "positive"} <= set(roles):
        return False
    wanted = needs(objective)
    return "score" not in wanted or "negative" in wanted


def largest_remainder(shares: Sequence[float], total: int) -> list[int]:
    """Whole numbers proportional to `shares` that sum to `total`; ties go to the earlier one."""
    exact = [share / sum(shares) * total for share in shares]
    counts = [math.floor(e + 1e-9) for e in exact]
    late = sorted(range(len(counts)), key=lambda i: counts[i] - exact[i])[: total - sum(counts)]
    return [count + (i in late) for i, count in enumerate(counts)]


def generated_share(shares: Sequence[float], generated: Sequence[bool | None]) -> float:
    """How much of the mix is of generated rows.

    Args:
        shares: of the batches, those of each source, relative to the others.
        generated: whether its rows are.
    """
    return sum(share for share, made in zip(shares, generated, strict=True) if made) / sum(shares)


@dataclass(frozen=True)
class Seen:
    """Negatives of one anchor in one softmax, before any are masked as duplicates.

    Attributes:
        own: the row's explicit negatives.
        others: documents and queries of other rows that are not explicit negatives.
        others_explicit: explicit negatives of other rows.
        anchor: ``query``, ``document``, ``pair`` (a joint softmax over several directions) or ``view``.
        noise: made-up negatives.
        less: which of these are left out when the batch is known.
    """

    own: int
    others: int
    others_explicit: int
    anchor: str = "query"
    noise: int = 0
    less: str = "those masked as duplicates"

    @property
    def total(self) -> int:
        return self.own + self.others + self.others_explicit + self.noise


def seen(config: InfoNCE, n: int, p: int, m: int) -> list[Seen]:
    """What each softmax of InfoNCE contrasts its positive with.

    Args:
        config: its options.
        n: examples in the pool (all processes, or one).
        p, m: positives and explicit negatives per example.
    """
    found = []
    for group in softmaxes(config.directions, config.partition):
        own = others = explicit = 0
        for direction in group:
            documents = direction.endswith("-d")
            if direction == "q-d" or (direction == "d-d" and config.same_side == "all"):
                own += m
            if not config.in_batch_negatives:
                continue
            others += (n - 1) * (p if documents else 1)
            if documents and config.other_negatives and not (direction == "d-d" and config.same_side == "positives"):
                explicit += (n - 1) * m
        sides = {direction[0] for direction in group}
        anchor = {"q": "query", "d": "document"}[sides.pop()] if len(sides) == 1 else "pair"
        guided = "those masked as duplicates or by the guide" if config.needs_guide else Seen.less
        found.append(Seen(own, others, explicit, anchor, less=guided))
    return found


def contrasts(config: ObjectiveConfig, n: int, p: int, m: int) -> list[Seen]:
    """What each softmax of an objective contrasts its positive with, wrappers included; arguments as of `seen`."""
    if isinstance(config, MixedNegatives):
        return seen(config, n, p, m + config.count)
    if isinstance(config, MoCHi):
        groups = softmaxes(config.directions, config.partition)
        made = [config.made if "q-d" in group else 0 for group in groups]
        return [replace(s, noise=k) for s, k in zip(seen(config, n, p, m), made, strict=True)]
    if isinstance(config, InfoNCE):
        return seen(config, n, p, m // 2 if isinstance(config, CLP) else m)
    if isinstance(config, Debiased):
        return seen(config.softmax, n, p, m)
    among_views = config.meets(n, p)
    if among_views is not None:
        others, less = among_views
        return [Seen(0, others, 0, "view", less=less)]
    if config.in_batch:  # by query against documents, as InfoNCE does by default
        (plain,) = seen(InfoNCE(), n, p, m)
        guided = "those masked as duplicates or by the guide" if config.needs_guide else plain.less
        return [replace(plain, noise=config.noise(n) if isinstance(config, DCLR) else 0, less=guided)]
    views = 1 if isinstance(config, ViewPairs) else p
    return [found for inner in config.inner() for found in contrasts(inner, n, views, m)]
