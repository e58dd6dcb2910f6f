"""The frozen model that judges meaning before training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from embedkit.disk import paths
from embedkit.errors import about
from embedkit.recipe.schema import Model

if TYPE_CHECKING:
    from embedkit.model.running.encoder import Encoder

_TRAINED = ("head", "lora", "soft_prompts", "freeze", "dropout", "towers", "frozen_tower")
"""Keys of the model block that only matter to training: they start from random weights, or change none."""


def load_guide(name: str | None, model: Model, device: str, where: str = "debias.guide") -> Encoder:
    """The model called `name`, or the recipe's base model as it is before training.

    Args:
        name: folder or Hub id; None takes `model`.
        model: the recipe's block, with its pooling, length and prompts; new heads and adapters are left out.
        device: ``train.device``.
        where: the key that names it, for errors.
    """
    from embedkit.model.running.encoder import Encoder

    if name is None:
        defaults = {key: field.default for key, field in Model.model_fields.items() if key in _TRAINED}
        return Encoder.load(model.model_copy(update=defaults), device=device)
    with about(where, "model.base"):
        return Encoder.load(Model(base=paths.folder_or_id(name)), device=device)
