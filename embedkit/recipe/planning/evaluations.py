"""When the model is measured, and how often."""

from __future__ import annotations

from dataclasses import dataclass

from embedkit.recipe.schema import Recipe
from embedkit.recipe.suite import Suite


@dataclass(frozen=True)
class Evaluations:
    """When the model is measured.

    Attributes:
        suite: name of the suite measured before and after, None for none.
        during: name of the suite measured during training, None for none.
        before, after: whether `suite` is measured then.
        every: updates between evaluations, None for none.
        masked_lm: file on which the masked-LM loss is measured before and after training, None for none.
        times: evaluations during training, the one after the last update included; None where updates are unknown.
    """

    suite: str | None
    during: str | None
    before: bool
    after: bool
    every: int | None
    times: int | None
    masked_lm: str | None = None


def evaluations(recipe: Recipe, updates: int | None) -> Evaluations:
    """Read it off the recipe."""
    block = recipe.eval
    return Evaluations(
        suite=_name(block.suite),
        during=_name(block.during or block.suite) if block.every is not None else None,
        before=block.before and block.suite is not None,
        after=block.suite is not None,
        every=block.every,
        times=None if updates is None else (-(-updates // block.every) if block.every else 0),
        masked_lm=block.masked_lm,
    )


def _name(suite: str | Suite | None) -> str | None:
    return suite.name if isinstance(suite, Suite) else suite
