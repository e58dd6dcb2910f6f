"""Options of the contrastive objectives on labels: GML and SBCL for long tails, Core-tuning's focal form."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from embedkit.recipe.objectives.base import ObjectiveConfig


class _Labelled(ObjectiveConfig):
    """Labelled texts, and as many views as there are."""

    needs: ClassVar[frozenset[str]] = frozenset({"query", "label"})
    in_batch: ClassVar[bool] = True
    explicit: ClassVar[bool] = False


class CoreTuning(_Labelled):
    """SupCon in which positives that are found already count less: the focal loss of Core-tuning (arXiv 2102.06605)."""

    name: Literal["core_tuning"] = "core_tuning"
    temperature: float = Field(0.07, gt=0, le=10, description="Logits are cosine / temperature.")
    focus: float = Field(1.0, ge=0, le=10, description="A positive of probability p weighs (1 - p) to this power.")

    def meets(self, n: int, p: int) -> tuple[int, str]:
        return (n - 1) * (1 + p), "those of its label"

    def columns(self, n: int, p: int, m: int) -> int:
        return (1 + p) * n * (1 + p)


class GML(_Labelled):
    """Cross-entropy of class logits, each the mean over a class's texts, adjusted by how frequent it is (ICML 2023)."""

    remembers: ClassVar[bool] = True
    state_of: ClassVar[str] = "per class"

    name: Literal["gml"] = "gml"
    temperature: float = Field(0.1, gt=0, le=10, description="The cosines' divisor, or where it begins.")
    learn_temperature: bool = Field(
        True, description="By a copy of the loss whose embeddings are constants (the authors'); it adds to the value."
    )
    temperature_bounds: tuple[float, float] = Field(
        (0.01, 1.0), description="A learned temperature is kept in this range."
    )
    pool: int = Field(0, ge=0, description="Earlier texts remembered per class as keys beside those of the batch.")
    prior: tuple[float, ...] | None = Field(
        None,
        min_length=1,
        description="Texts of class 0, 1, ... in the training data, or shares of them. null: counted as batches come.",
    )

    @field_validator("prior")
    @classmethod
    def _counts_are_positive(cls, value: tuple[float, ...] | None) -> tuple[float, ...] | None:
        if value is not None and min(value) <= 0:
            raise ValueError("every class of prior needs a number above 0")
        return value

    @model_validator(mode="after")
    def _temperature_is_in_its_bounds(self) -> GML:
        low, high = self.temperature_bounds
        if not 0 < low < high:
            raise ValueError(f"temperature_bounds must be 0 < low < high, got {low}, {high}")
        if self.learn_temperature and not low <= self.temperature <= high:
            raise ValueError(f"temperature {self.temperature} is outside temperature_bounds [{low}, {high}]")
        return self

    def sees(self, n: int, p: int, m: int) -> str:
        kept = f", and up to {self.pool} earlier texts of each class" if self.pool else ""
        return f"one logit per class, from {n * (1 + p) - 1} other texts of the batch{kept}"

    def columns(self, n: int, p: int, m: int) -> int:
        return n * (1 + p)

    def state_bytes(self, dim: int) -> int:
        return 12 + self.pool * (4 * dim + 8)


class SBCL(_Labelled):
    """Contrast of subclasses, into which frequent classes are clustered, and of classes (arXiv 2306.15925)."""

    remembers: ClassVar[bool] = True
    state_of: ClassVar[str] = "per text"

    name: Literal["sbcl"] = "sbcl"
    temperature: float = Field(0.1, gt=0, le=10, description="Logits are cosine / temperature.")
    base_temperature: float = Field(
        0.07, gt=0, le=10, description="The subclasses' term is multiplied by temperature / this."
    )
    gamma: float = Field(0.25, ge=0, description="Factor of the classes' term.")
    variant: Literal["rank", "ccl"] = Field(
        "rank",
        description="rank: against other subclasses of the class, at a temperature of the class (the paper's); ccl: "
        "SupCon of the classes.",
    )
    smallest: int = Field(10, ge=2, description="Least texts of a subclass; or those of the smallest class, if more.")
    every: int = Field(200, ge=1, description="Updates between clusterings; until the first, a class is one subclass.")

    def meets(self, n: int, p: int) -> tuple[int, str]:
        return (n - 1) * (1 + p), "those of its subclass"

    def columns(self, n: int, p: int, m: int) -> int:
        return (1 + p) * n * (1 + p)

    def state_bytes(self, dim: int) -> int:
        return 4 * (dim + 1) + 8 + 2 * 4 + 8
