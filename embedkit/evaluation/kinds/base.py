"""What the kinds of tasks share: what each of them gives back, and the seed that their figures in mteb come from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from embedkit.evaluation.content import Texts

SEED = 42
"""Of mteb's tasks: with it the same texts are drawn, and the figures are the same."""


class Read(Protocol):
    """The data of a task in memory."""

    @property
    def texts(self) -> Texts:
        """What will be encoded, each group with its role; texts may repeat."""
        ...

    @property
    def digest(self) -> str:
        """Content hash."""
        ...


@dataclass(frozen=True)
class Measured:
    """What was found of a task.

    Attributes:
        metrics: name -> fraction.
        units: values [items], or [items, draws], of metrics that are their mean; or what `embedkit.evaluation.stats`
            resamples.
        details: counts and settings.
        note: what a reader must know.
    """

    metrics: dict[str, float]
    units: dict[str, np.ndarray]
    details: dict[str, Any] = field(default_factory=dict)
    note: str = ""


def means(units: dict[str, np.ndarray]) -> dict[str, float]:
    """The mean of every metric over its items."""
    return {name: float(values.mean()) for name, values in units.items()}
