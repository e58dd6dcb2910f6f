"""Options of DCLR."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from embedkit.recipe.objectives.base import ObjectiveConfig
from embedkit.recipe.objectives.contrastive import columns


class DCLR(ObjectiveConfig):
    """Debiased contrastive learning (Zhou et al. 2022): a guide's false negatives weigh 0, noise makes negatives."""

    in_batch: ClassVar[bool] = True

    name: Literal["dclr"] = "dclr"
    variant: Literal["released", "paper"] = Field(
        "released",
        description="released: the authors' code, cross-entropy of every entry, a false negative keeps the logit 0. "
        "paper: its formula, false negatives are removed and the positive is not in the denominator.",
    )
    phi: float = Field(
        0.9,
        gt=-1,
        le=1,
        description="Candidates with a guide cosine above this are false negatives (BERT 0.9, RoBERTa 0.85).",
    )
    noise_times: float = Field(
        1.0, ge=0, le=100, description="Noise negatives per example of the batch (BERT 1, RoBERTa 2.5)."
    )
    noise_steps: int = Field(4, ge=0, le=100, description="Gradient-ascent steps on the noise.")
    step_length: float = Field(1e-3, gt=0, description="Length of a step; every gradient is normalised to 1.")
    temperature: float = Field(0.05, gt=0, le=10, description="Logits are cosines / temperature.")
    noise_temperature: float | None = Field(
        None, gt=0, le=10, description="Temperature of the ascent; None takes temperature. Variant paper only."
    )

    @property
    def needs_guide(self) -> bool:
        return True

    def columns(self, n: int, p: int, m: int) -> int:
        return columns("q-d", n, p, m) + self.noise(n)

    def noise(self, n: int) -> int:
        """Noise negatives of a pool of n examples."""
        return int(n * self.noise_times)

    @model_validator(mode="after")
    def _ascent(self) -> DCLR:
        if self.variant == "released" and self.noise_temperature is not None:
            raise ValueError("noise_temperature belongs to variant: paper; the released code has one temperature")
        return self
