"""Options of the loss that holds the batch's similarities as they were at the start, and who asks for copies."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Literal

from pydantic import Field

from embedkit.recipe.objectives.base import ObjectiveConfig, momenta
from embedkit.recipe.training import Train


class KeepStart(ObjectiveConfig):
    """The batch's similarities stay those of the model that training started from (ProGrad, arXiv 2205.14865); in a
    `sum` with what teaches."""

    needs: ClassVar[frozenset[str]] = frozenset({"query"})
    without_negatives: ClassVar[bool] = True

    name: Literal["keep_start"] = "keep_start"
    temperature: float = Field(0.05, gt=0, le=10, description="Logits are cosine / temperature.")
    softening: float = Field(1.0, gt=0, le=100, description="Of both distributions; the loss is times its square.")

    @property
    def target_momentum(self) -> float | None:
        return 1.0

    def sees(self, n: int, p: int, m: int) -> str:
        return "no negatives; its similarities as the model had them at the start"

    def columns(self, n: int, p: int, m: int) -> int:
        return n * max(1, p + m)


def copies(objectives: Iterable[ObjectiveConfig], train: Train) -> list[float]:
    """The different momenta of the encoder's copies that a run needs, ascending."""
    asked = list(objectives)
    return momenta([*asked, kept(train)] if train.prograd is not None else asked)


def kept(train: Train) -> KeepStart:
    """The objective whose gradient `train.prograd` does not go against."""
    assert train.prograd is not None
    return KeepStart(temperature=train.prograd.temperature, softening=train.prograd.softening)
