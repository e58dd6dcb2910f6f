"""Options of what wraps other objectives, and of none at all."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from embedkit.recipe.base import Block
from embedkit.recipe.objectives.base import AnyObjective, ObjectiveConfig


class Matryoshka(ObjectiveConfig):
    """The inner objective on prefixes of the embedding, weighted sum (arXiv 2205.13147)."""

    name: Literal["matryoshka"] = "matryoshka"
    objective: AnyObjective
    dims: tuple[int, ...] = Field(min_length=1, description="Prefix lengths, e.g. [384, 256, 128, 64].")
    weights: tuple[float, ...] | None = Field(None, description="One per dim; all ones when absent.")

    def inner(self) -> tuple[ObjectiveConfig, ...]:
        return (self.objective,)

    @model_validator(mode="after")
    def _weights_match(self) -> Matryoshka:
        if self.weights is not None and len(self.weights) != len(self.dims):
            raise ValueError(f"matryoshka has {len(self.dims)} dims but {len(self.weights)} weights")
        if len(set(self.dims)) != len(self.dims) or min(self.dims) < 1:
            raise ValueError("matryoshka dims must be positive and distinct")
        return self


class SumTerm(Block):
    """One term of a sum."""

    weight: float = Field(1.0, description="Factor of this term.")
    objective: AnyObjective


class Sum(ObjectiveConfig):
    """Weighted sum of objectives on the same batch."""

    name: Literal["sum"] = "sum"
    terms: tuple[SumTerm, ...] = Field(min_length=1)

    def inner(self) -> tuple[ObjectiveConfig, ...]:
        return tuple(term.objective for term in self.terms)


class ViewPairs(ObjectiveConfig):
    """The inner objective on pairs of views, one pair at a time (WhitenedCSE: the sum over its positives)."""

    name: Literal["view_pairs"] = "view_pairs"
    objective: AnyObjective
    pairs: Literal["first", "all"] = Field(
        "first", description="first: the query with each positive. all: every two of the query and its positives."
    )
    reduction: Literal["sum", "mean"] = Field("sum", description="Of the pairs' losses.")

    def inner(self) -> tuple[ObjectiveConfig, ...]:
        return (self.objective,)

    def columns(self, n: int, p: int, m: int) -> int:
        return self.objective.columns(n, 1, m)


class Nothing(ObjectiveConfig):
    """No objective on embeddings: the auxiliary losses alone (pretraining, TSDAE)."""

    needs: ClassVar[frozenset[str]] = frozenset()
    name: Literal["none"] = "none"

    @property
    def compares(self) -> None:
        return None
