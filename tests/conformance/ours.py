"""embedkit, called from plain arrays: what the adapters have in common."""

from __future__ import annotations

from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from embedkit.errors import RecipeError
from embedkit.objectives.base import build
from embedkit.recipe.objectives.base import ObjectiveConfig
from embedkit.recipe.objectives.contrastive import InfoNCE
from embedkit.recipe.objectives.wrappers import Matryoshka, Sum, SumTerm
from embedkit.recipe.weighting import WeightingConfig
from embedkit.types import Embeddings, LossOut
from tests.conformance.inputs import NotImplementedYet

FOUR = ("q-d", "q-q", "d-q", "d-d")


def embeddings(
    query: Tensor,
    positive: Tensor,
    negative: Tensor | None = None,
    *,
    exists: Tensor | None = None,
    score: Any = None,
    label: Any = None,
    weight: Any = None,
    guide: Embeddings | None = None,
) -> Embeddings:
    """One batch whose texts are all different.

    Args:
        query: [N, d].
        positive: [N, P, d], or [N, d] for one each.
        negative: [N, M, d] each row's explicit negatives, or [N, d] for one each.
        exists: [N, M] which negatives there are; all of them when None.
        score: [N] or [N, C] graded targets.
        label: [N] classes.
        weight: [N] example weights.
        guide: the batch as a guide sees it.
    """
    n, d = query.shape
    positive = positive.reshape(n, -1, d)
    p = positive.shape[1]
    if negative is None:
        negative = query.new_zeros(n, 0, d)
    negative = negative.reshape(n, -1, d)
    m = negative.shape[1]
    ids = torch.arange(1, n * (1 + p + m) + 1)
    graded = None if score is None else torch.as_tensor(score, dtype=query.dtype).reshape(n, -1)
    return Embeddings(
        query=query,
        positive=positive,
        negative=negative,
        negative_mask=torch.ones(n, m, dtype=torch.bool) if exists is None else exists,
        query_id=ids[:n],
        positive_id=ids[n : n + n * p].view(n, p),
        negative_id=ids[n + n * p :].view(n, m),
        known_id=torch.zeros(n, 0, dtype=torch.int64),
        score=graded,
        label=None if label is None else torch.as_tensor(label),
        weight=None if weight is None else torch.as_tensor(weight, dtype=query.dtype),
        guide=guide,
    )


def option(kind: type[Any], **options: Any) -> Any:
    """A block of recipe options; what embedkit refuses is not implemented."""
    try:
        return kind(**options)
    except (ValidationError, RecipeError) as error:
        raise NotImplementedYet(f"embedkit refuses these options: {error}") from error


def infonce(temperature: float, **options: Any) -> InfoNCE:
    """Options of InfoNCE."""
    return option(InfoNCE, temperature=float(temperature), **options)


def nt_xent(temperature: float, **options: Any) -> InfoNCE:
    """Options of NT-Xent: both views as anchors, in-view negatives, mean over the 2 N rows."""
    return infonce(temperature, directions=FOUR, partition="per_direction", **options)


def matryoshka(objective: ObjectiveConfig, dims: list[int], weights: list[float]) -> Matryoshka:
    """Options of a weighted sum over prefixes."""
    return option(Matryoshka, objective=objective, dims=tuple(dims), weights=tuple(map(float, weights)))


def times(factor: float, objective: ObjectiveConfig) -> Sum:
    """Options of `factor` times an objective."""
    return option(Sum, terms=(SumTerm(weight=float(factor), objective=objective),))


def loss(config: ObjectiveConfig, e: Embeddings, *weighting: WeightingConfig) -> Tensor:
    """The batch loss of an objective, as the step engine defines it (`embedkit.train.step.reference`)."""
    rows = torch.arange(len(e))
    total = e.query.new_zeros(())
    for term in build(config, weighting).terms(e):
        total = total + term.coefficient * mean(term.objective(term.embeddings, rows))
    return total


def mean(out: LossOut) -> Tensor:
    """The batch loss from the answer for all rows."""
    if out.weight is None:
        return out.value
    return (out.value * out.weight).sum() / out.weight.sum().clamp_min(torch.finfo(out.value.dtype).tiny)
