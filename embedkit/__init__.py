"""embedkit: train, measure and publish text embedding models from recipes.

The public names are loaded on first use, so that ``import embedkit`` and ``embedkit --help`` stay light.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

__version__ = "0.1.0.dev0"

_PUBLIC = {
    "load_recipe": "embedkit.recipe.load",
    "Recipe": "embedkit.recipe.schema",
    "register": "embedkit.recipe.registry",
    "train": "embedkit.run",
    "evaluate": "embedkit.run",
    "mine": "embedkit.run",
    "export": "embedkit.run",
    "publish": "embedkit.run",
    "merge": "embedkit.run",
    "Trainer": "embedkit.train.trainer",
    "Encoder": "embedkit.model.running.encoder",
    "Objective": "embedkit.objectives.base",
}

__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'embedkit' has no attribute {name!r}")
    return getattr(importlib.import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)


class _Package(ModuleType):
    """``embedkit.train`` is the function, also once the package of that name has been imported."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _PUBLIC and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
importlib.import_module("embedkit.moved").forward()
