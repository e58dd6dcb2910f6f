"""Batches that the objectives are tried on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from embedkit.recipe import weighting as w
from embedkit.types import PAD_ID, Embeddings
from tests.objectives import options as o

N, D = 12, 8
ALL: tuple[o.Direction, ...] = ("q-d", "q-q", "d-q", "d-d")


class Case(NamedTuple):
    config: o.ObjectiveConfig
    batch: Embeddings
    weighting: tuple[w.WeightingConfig, ...] = ()
    alone: bool = True  # whether the contract test takes it as it is, and not in a sum with others (`TOGETHER`)


def batch(p: int = 1, m: int = 0, *, n: int = N, d: int = D, seed: int = 0, **targets: Tensor) -> Embeddings:
    """A float64 batch with correlated pairs, in which every text is different and nothing is missing."""
    rng = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=rng, dtype=torch.float64)

    query = normal(n, d)
    ids = torch.arange(101, 101 + n * (1 + p + m)).view(n, 1 + p + m)
    return Embeddings(
        query=query,
        positive=query[:, None] + 0.8 * normal(n, p, d),
        negative=0.5 * query[:, None] + normal(n, m, d),
        negative_mask=torch.ones(n, m, dtype=torch.bool),
        query_id=ids[:, 0].clone(),
        positive_id=ids[:, 1 : 1 + p].clone(),
        negative_id=ids[:, 1 + p :].clone(),
        known_id=torch.full((n, 2), PAD_ID),
        **targets,
    )


def tangled(e: Embeddings) -> Embeddings:
    """The batch with texts that repeat, known matches, and missing negatives where it has any."""
    query_id, positive_id, negative_id = e.query_id.clone(), e.positive_id.clone(), e.negative_id.clone()
    known_id, mask, negative = e.known_id.clone(), e.negative_mask.clone(), e.negative.clone()
    query_id[3] = query_id[0]  # the same query twice
    positive_id[5, 0] = positive_id[2, 0]  # one document answers two queries
    query_id[9] = positive_id[8, 0]  # a query that is another's positive
    known_id[6] = torch.tensor([positive_id[6, 0], positive_id[7, 0]])  # known, but not given, to match
    known_id[10, 0] = query_id[11]
    if e.negative.shape[1]:
        negative_id[4, 0] = positive_id[1, 0]  # another's positive as negative
        negative_id[6, -1] = positive_id[6, 0]  # the own positive as negative
        for row, slot in ((0, 0), (2, -1), (7, 0)):
            mask[row, slot], negative_id[row, slot], negative[row, slot] = False, PAD_ID, 0.0
        mask[11], negative_id[11], negative[11] = False, PAD_ID, 0.0  # none at all
    return replace(
        e,
        negative=negative,
        negative_mask=mask,
        query_id=query_id,
        positive_id=positive_id,
        negative_id=negative_id,
        known_id=known_id,
    )


def knotted(e: Embeddings) -> Embeddings:
    """As `tangled`, of six examples or more without explicit negatives."""
    query_id, positive_id, known_id = e.query_id.clone(), e.positive_id.clone(), e.known_id.clone()
    query_id[3] = query_id[0]
    known_id[1, 0] = query_id[4]
    if e.positive.shape[1]:
        positive_id[5, 0] = positive_id[2, 0]
    return replace(e, query_id=query_id, positive_id=positive_id, known_id=known_id)


def one_missing(e: Embeddings) -> Embeddings:
    """`knotted`, and example 4 lacks its first explicit negative, which has the text of another's positive in 1."""
    e = knotted(e)
    mask, negative, ids = e.negative_mask.clone(), e.negative.clone(), e.negative_id.clone()
    mask[4, 0], negative[4, 0], ids[4, 0], ids[1, 0] = False, 0.0, PAD_ID, e.positive_id[2, 0]
    return replace(e, negative_mask=mask, negative=negative, negative_id=ids)


def guided(e: Embeddings, *, noise: float = 0.5, seed: int = 5) -> Embeddings:
    """The batch with a guide of five dimensions that finds examples 0 and 1, and 2 and 3, much alike."""
    rng = torch.Generator().manual_seed(seed)

    def near(x: Tensor) -> Tensor:
        return x + noise * torch.randn(x.shape, generator=rng, dtype=x.dtype)

    topic = torch.randn(len(e), 5, generator=rng, dtype=torch.float64)
    topic[1], topic[3] = near(topic[0]), near(topic[2])
    negative = near(0.5 * topic[:, None].expand(-1, e.negative.shape[1], -1))
    guide = replace(
        e,
        query=topic,
        positive=near(topic[:, None].expand(-1, e.positive.shape[1], -1)),
        negative=torch.where(e.negative_mask[..., None], negative, 0.0),
    )
    return replace(e, guide=guide)


def third(e: Embeddings, seed: int = 6) -> Embeddings:
    """The batch with a guide of the same width, whose vectors are near the trained ones."""
    rng = torch.Generator().manual_seed(seed)

    def near(x: Tensor) -> Tensor:
        return x + 0.9 * torch.randn(x.shape, generator=rng, dtype=x.dtype)

    negative = torch.where(e.negative_mask[..., None], near(e.negative), 0.0)
    return replace(e, guide=replace(e, query=near(e.query), positive=near(e.positive), negative=negative))


def followed(e: Embeddings, seed: int = 7) -> Embeddings:
    """The batch with the embeddings of a copy of the encoder, near the trained ones."""
    near = third(e, seed).guide
    return replace(e, target=near)


def scores(columns: int, seed: int = 1) -> Tensor:
    return torch.rand(N, columns, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def graded() -> Tensor:
    """[N, 1] scores with ties."""
    return (scores(1) * 5).round() / 5


def relevance(columns: int) -> Tensor:
    """[N, columns] grades 0, 1, 2 with ties."""
    return (scores(columns, seed=2) * 2).round()


WEIGHT = torch.linspace(0.5, 2.0, N, dtype=torch.float64)
CLASSES = torch.arange(N) % 3


def infonce(**options: Any) -> o.InfoNCE:
    return o.InfoNCE(**{"temperature": 0.1, **options})


def st(loss: str, **options: Any) -> o.STLoss:
    return o.STLoss(loss=loss, **options)
