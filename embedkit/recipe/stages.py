"""`stages:` of a recipe: several trainings in one file, each going on from the model of the one before.

A stage is a recipe laid over the keys beside `stages`, as a recipe is over what it `extends`; or it merges the models
of earlier stages (a soup).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pydantic import Field, create_model, model_validator

from embedkit.recipe.base import Block, invalid
from embedkit.recipe.schema import Recipe

START = "base"
"""In `merge.of` and `from`: the model that the first stage began with."""


class Merge(Block):
    """A stage that trains nothing: the weights of earlier models averaged (model soups, arXiv 2203.05482)."""

    of: tuple[str, ...] = Field(
        min_length=2, description="Names of earlier stages; `base` is the model that the first one began with."
    )
    weights: tuple[float, ...] | None = Field(None, description="Shares, one for each. None: equal ones.")
    method: Literal["linear", "slerp"] = Field("linear", description="slerp: on the sphere, between two.")

    @model_validator(mode="after")
    def _shares(self) -> Merge:
        if self.weights is not None and len(self.weights) != len(self.of):
            raise invalid(f"{len(self.weights)} weights for {len(self.of)} models", "give one for each, or none")
        if self.weights is not None and (min(self.weights) < 0 or not 0 < sum(self.weights) < float("inf")):
            raise invalid("weights are shares: none below 0, some above", "e.g. [0.7, 0.3]")
        if self.method == "slerp" and len(self.of) != 2:
            raise invalid(f"slerp is between two models, not {len(self.of)}", "use method: linear")
        return self


if TYPE_CHECKING:
    _Beginning = Recipe
else:  # `from` is a word of Python, and no name for a field in a class
    _Beginning = create_model(
        "_Beginning",
        __base__=Recipe,
        **{
            "from": (
                str | None,
                Field(
                    None, description="The earlier stage that this one begins with, or `base`. None: the one before."
                ),
            )
        },
    )


class Stage(_Beginning):
    """A stage of a recipe: any keys of a recipe, laid over those beside `stages`, and these."""

    name: str = Field(
        description="Of the stage and its folder: small letters, digits, hyphens.", pattern=r"^[a-z0-9][a-z0-9-]*$"
    )
    merge: Merge | None = Field(None, description="Train nothing; merge models of earlier stages instead.")


class Written(Recipe):
    """Everything that a recipe file may hold at its top, before its stages are made recipes of their own."""

    stages: tuple[Stage, ...] = Field(
        (), description="Trainings one after the other; each goes on from the last model."
    )


def going_on(recipe: Recipe, base: str) -> Recipe:
    """The recipe with another model to begin with, which is a folder or has been read already."""
    model = recipe.model.model_copy(update={"base": base, "revision": None, "from_scratch": False})
    return recipe.model_copy(update={"model": model})


@dataclass(frozen=True)
class Step:
    """A stage, made a recipe of its own.

    Attributes:
        name: of the stage.
        recipe: whole; where it begins with an earlier stage, its base is what that one began with.
        begins: number of the stage whose model is its base; None where it has a base of its own.
        merge: what it merges, where it trains nothing.
    """

    name: str
    recipe: Recipe
    begins: int | None
    merge: Merge | None = None


@dataclass(frozen=True)
class Staged:
    """The stages of a recipe, in order."""

    steps: tuple[Step, ...]

    def number(self, name: str) -> int:
        """Place of a stage by its name, from 0."""
        return next(i for i, step in enumerate(self.steps) if step.name == name)

    def folder(self, number: int) -> str:
        """Name of a stage's folder: ``1-weak``."""
        return f"{number + 1}-{self.steps[number].name}"
