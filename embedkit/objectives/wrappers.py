"""Objectives made of objectives. They only list terms; the engine evaluates a flat list."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import nn

from embedkit.errors import RecipeError
from embedkit.objectives.base import Objective, Term
from embedkit.types import Embeddings


class Matryoshka(Objective):
    """``sum_m weight_m * objective(first dim_m coordinates)`` (arXiv 2205.13147).

    A sum, as in the paper and sentence-transformers; for the mean (FlagEmbedding) give weights 1 / len(dims).
    Objectives with a cosine normalise each prefix anew.

    Args:
        objective: evaluated on each prefix; its parameters (a learned temperature) are shared.
        dims: prefix lengths.
        weights: one per dim; all ones when None.
    """

    def __init__(self, objective: Objective, dims: Sequence[int], weights: Sequence[float] | None = None) -> None:
        super().__init__()
        self.objective, self.dims = objective, tuple(dims)
        self.weights = tuple(weights) if weights is not None else (1.0,) * len(self.dims)

    def terms(self, e: Embeddings) -> list[Term]:
        d = e.query.shape[-1]
        if max(self.dims) > d:
            raise RecipeError(
                f"matryoshka dim {max(self.dims)} is larger than the embedding, which has {d}",
                where="objective.dims",
                cure=f"use dims up to {d}",
            )
        return [
            replace(term, coefficient=weight * term.coefficient)
            for dim, weight in zip(self.dims, self.weights, strict=True)
            for term in self.objective.terms(e.truncate(dim))
        ]


class WeightedSum(Objective):
    """``sum_t weight_t * objective_t`` on the same batch.

    Args:
        terms: (weight, objective) pairs.
    """

    def __init__(self, terms: Sequence[tuple[float, Objective]]) -> None:
        super().__init__()
        self.weights = [weight for weight, _ in terms]
        self.objectives = nn.ModuleList(objective for _, objective in terms)

    def terms(self, e: Embeddings) -> list[Term]:
        out: list[Term] = []
        for weight, objective in zip(self.weights, self.objectives, strict=True):
            assert isinstance(objective, Objective)
            out += [replace(term, coefficient=weight * term.coefficient) for term in objective.terms(e)]
        return out


class Nothing(Objective):
    """No terms: the loss is 0, and the auxiliary losses are all that trains."""

    empty = True

    def terms(self, e: Embeddings) -> list[Term]:
        return []
