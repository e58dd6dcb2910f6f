"""Counting: the rows of an example, and the negatives that a query really sees."""

from __future__ import annotations

from dataclasses import dataclass

from embedkit.recipe.objectives import InfoNCE, ObjectiveConfig, leaves, softmaxes


def negatives_per_query(asked: int | None, *, needed: bool, given: bool) -> int:
    """Explicit negatives per query and step (M): what the recipe asks for, else 1 where there are any.

    Args:
        asked: `negatives.per_query`.
        needed: whether the objective needs negatives.
        given: whether the source has some.
    """
    return asked if asked is not None else int(needed or given)


@dataclass(frozen=True)
class Seen:
    """Negatives of one anchor in one softmax, before any are masked as duplicates.

    Attributes:
        own: the row's explicit negatives.
        others: documents and queries of other rows that are not explicit negatives.
        others_explicit: explicit negatives of other rows.
        anchor: ``query``, ``document`` or ``pair`` (a joint softmax over several directions).
    """

    own: int
    others: int
    others_explicit: int
    anchor: str = "query"

    @property
    def total(self) -> int:
        return self.own + self.others + self.others_explicit


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
        found.append(
            Seen(own, others, explicit, {"q": "query", "d": "document"}[sides.pop()] if len(sides) == 1 else "pair")
        )
    return found


def widest(config: ObjectiveConfig, n: int, p: int, m: int) -> int:
    """The most logits a row has in any matrix of the objective."""
    return max(1, *(leaf.columns(n, p, m) for leaf in leaves(config)))
