"""Objectives made of objectives. They only list terms; the engine evaluates a flat list."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from typing import Literal

import torch
from torch import nn

from embedkit.errors import DataError, RecipeError
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


class ViewPairs(Objective):
    """The inner objective on pairs of views, one pair at a time; with it InfoNCE has as many negatives as for one pair.

    WhitenedCSE (arXiv 2305.17746): InfoNCE on the first view with each other one, summed. SynCSE's multi-positive
    variant: every two of anchor and positives, averaged. Explicit negatives belong to each pair.

    Args:
        objective: evaluated on each pair.
        pairs: first: the query with each positive. all: every two of the query and its positives.
        reduction: sum or mean of the pairs' losses.
    """

    def __init__(
        self,
        objective: Objective,
        pairs: Literal["first", "all"] = "first",
        reduction: Literal["sum", "mean"] = "sum",
    ) -> None:
        super().__init__()
        self.objective, self.pairs, self.reduction = objective, pairs, reduction

    def terms(self, e: Embeddings) -> list[Term]:
        views = 1 + e.positive.shape[1]
        if views < 2:
            raise DataError(
                "the batch has no positives to pair the query with",
                where="positive",
                cure="give the source a positive column, or use role `text` and views.count 2 or more",
            )
        pairs = [(a, b) for a, b in combinations(range(views), 2) if self.pairs == "all" or a == 0]
        share = 1.0 / len(pairs) if self.reduction == "mean" else 1.0
        return [
            replace(term, coefficient=share * term.coefficient)
            for a, b in pairs
            for term in self.objective.terms(_pair(e, a, b))
        ]


def _pair(e: Embeddings, a: int, b: int) -> Embeddings:
    """The batch in which view `a` is the query and `b` its positive (0 is the query, k the positive k - 1).

    Texts of the views left out stay known to match.
    """
    vectors = torch.cat([e.query[:, None], e.positive], dim=1)
    ids = torch.cat([e.query_id[:, None], e.positive_id], dim=1)
    return replace(
        e,
        query=vectors[:, a],
        positive=vectors[:, b, None],
        query_id=ids[:, a],
        positive_id=ids[:, b, None],
        known_id=torch.cat([e.known_id, ids], dim=1),
        guide=None if e.guide is None else _pair(e.guide, a, b),
    )


class Nothing(Objective):
    """No terms: the loss is 0, and the auxiliary losses are all that trains."""

    empty = True

    def terms(self, e: Embeddings) -> list[Term]:
        return []
