"""Options of the debiased contrastive loss and of its hard-negative form."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

from pydantic import Field, model_validator

from embedkit.recipe.objectives.base import ObjectiveConfig
from embedkit.recipe.objectives.contrastive import Direction, InfoNCE, columns


class Debiased(ObjectiveConfig):
    """Debiased contrastive loss (Chuang et al. 2020), with beta above 0 HCL (Robinson et al. 2021)."""

    in_batch: ClassVar[bool] = True

    name: Literal["debiased"] = "debiased"
    temperature: float = Field(0.5, gt=0, le=10, description="Logits are cosines / temperature.")
    tau_plus: float = Field(
        0.1,
        ge=0,
        lt=1,
        description="Probability that a random candidate is a match. 0 corrects nothing: InfoNCE where beta is 0.",
    )
    beta: float = Field(
        0.0,
        ge=0,
        le=100,
        description="HCL: negatives weigh e^(beta logit), on top of the temperature. 0: all alike (debiased).",
    )
    detach_weights: bool = Field(False, description="Take the weights of beta as constants; the authors do not.")
    directions: tuple[Direction, ...] = Field(
        ("q-d",),
        min_length=1,
        description="q-d with q-q, and d-q with d-d, have a softmax each and their losses are averaged. The authors, "
        "on two views of one thing: all four.",
    )

    @property
    def gap(self) -> float:
        """How far, in cosines, a positive may stand above the log-mean-exp of its negatives until the estimate is cut
        off; infinite without correction."""
        return self.temperature * -math.log(self.tau_plus) if self.tau_plus else math.inf

    @property
    def softmax(self) -> InfoNCE:
        """InfoNCE with the same anchors and candidates."""
        return InfoNCE(directions=self.directions, partition="per_direction")

    def columns(self, n: int, p: int, m: int) -> int:
        return sum(columns(d, n, p, m) for d in self.directions)

    @model_validator(mode="after")
    def _possible(self) -> Debiased:
        if self.detach_weights and not self.beta:
            raise ValueError("detach_weights has no effect with beta: 0, where nothing is weighted")
        _ = self.softmax
        return self
