"""The recipe: what a person may ask for, with types, bounds, defaults and the reason for each.

Blocks stand in the order of the walk: model, data, views, negatives, mining, heads, guide, objective, auxiliary,
weighting, train, eval, card, publish. Each has its keys in a module of its own, and is named here.
No torch here: `embedkit check` reads this and nothing heavier.
"""

from __future__ import annotations

from pydantic import Field

from embedkit.recipe.auxiliary import AnyAuxiliary
from embedkit.recipe.base import Block
from embedkit.recipe.data import Data, Negatives, Role, Source
from embedkit.recipe.hand_over import Card, Publish
from embedkit.recipe.heads import AnyHead
from embedkit.recipe.mining import Mining
from embedkit.recipe.model import (
    DEFAULT_MODEL,
    Demonstration,
    Guide,
    Head,
    Lora,
    Model,
    Pooling,
    Prompts,
    SoftPrompts,
    Template,
)
from embedkit.recipe.objectives.base import AnyObjective
from embedkit.recipe.objectives.contrastive import InfoNCE
from embedkit.recipe.training import Eval, Train
from embedkit.recipe.views import Views
from embedkit.recipe.weighting import AnyWeighting

__all__ = [
    "DEFAULT_MODEL",
    "Data",
    "Demonstration",
    "Eval",
    "Guide",
    "Head",
    "Lora",
    "Model",
    "Negatives",
    "Pooling",
    "Prompts",
    "Recipe",
    "Role",
    "SoftPrompts",
    "Source",
    "Template",
    "Train",
    "Views",
]


class Recipe(Block):
    """A whole training run."""

    plugins: tuple[str, ...] = Field(
        (), description="Python modules to run once the recipe is read, which is said; they may register objectives."
    )
    model: Model = Model()
    data: Data
    views: Views = Views()
    negatives: Negatives = Negatives()
    mining: Mining | None = None
    heads: tuple[AnyHead, ...] = Field(
        (), description="Layers over the whole gathered batch before the objective, in order; training only."
    )
    guide: Guide | None = None
    objective: AnyObjective = InfoNCE()
    auxiliary: tuple[AnyAuxiliary, ...] = Field((), description="Losses on the encoder's side: mlm, ...")
    weighting: tuple[AnyWeighting, ...] = ()
    train: Train = Train()
    eval: Eval = Eval()
    card: Card | None = Field(None, description="What the model's card says in its owner's words.")
    publish: Publish | None = Field(None, description="Push the model to the Hub at the end. None: not.")
