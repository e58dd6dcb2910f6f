"""From a recipe to a finished run folder; the only package that knows all layers.

The stages, in order: `start`, `data`, `planning`, `build`, `forecast`, `measure`, `fit`, `save`, `measure` again,
`finish`. `single` calls them, `staged` calls that for each stage of a recipe; `merging` averages models, `evaluating`
measures one that is there already, `mining_job` finds negatives with one, `exporting` writes it for another runtime,
`publishing` sends it to the Hub.
"""

from __future__ import annotations

import importlib
from typing import Any

_PUBLIC = {
    "train": "embedkit.run.training",
    "evaluate": "embedkit.run.evaluating",
    "mine": "embedkit.run.mining_job",
    "export": "embedkit.run.exporting",
    "publish": "embedkit.run.publishing",
    "merge": "embedkit.run.merging",
    "evaluate_served": "embedkit.run.served",
}

__all__ = list(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_PUBLIC[name]), name)
