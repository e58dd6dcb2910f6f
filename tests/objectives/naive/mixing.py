"""InfoNCE with mixed negatives as a loop: the mixed rows are written into a batch, or beside it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from embedkit.recipe import weighting as w
from embedkit.types import Embeddings
from tests.objectives import options as o
from tests.objectives.naive.base import Rows, ids, others, similarity
from tests.objectives.naive.contrastive import guide_objects, infonce

Pieces = tuple[w.WeightingConfig, ...]


def _unit(x: Tensor) -> Tensor:
    return x / x.norm()


def mixed_negatives(c: o.MixedNegatives, e: Embeddings, pieces: Pieces, temperature: float | Tensor) -> Rows:
    n, m = len(e), e.negative.shape[1]
    rng = np.random.default_rng([0x4D495831, e.step])
    order, share = rng.random((n, c.count, m)), rng.beta(c.alpha, c.alpha, (n, c.count))
    made, seen, exists = [], [], []
    for i in range(n):
        match = ids(e.query_id[i], e.positive_id[i], e.known_id[i]) if c.mask_duplicates else set()
        usable = [v for v in range(m) if e.negative_mask[i, v] and int(e.negative_id[i, v]) not in match]
        for k in range(c.count):
            exists.append(len(usable) >= 2)
            if len(usable) < 2:
                made.append(torch.ones_like(e.query[i]))
                seen.append(None if e.guide is None else torch.ones_like(e.guide.query[i]))
                continue
            if c.mix == "pairs":
                a, b = sorted(usable, key=lambda v: order[i, k, v])[:2]
                shares = {a: share[i, k], b: 1 - share[i, k]}
            else:
                s = torch.stack([similarity(e.query[i], e.negative[i, v], c.similarity) for v in usable])
                shares = dict(zip(usable, (s / temperature).softmax(0), strict=True))
            if c.similarity == "cos":
                made.append(sum(x * _unit(e.negative[i, v]) for v, x in shares.items()))
            else:
                direction = _unit(sum(x * e.negative[i, v] for v, x in shares.items()))
                made.append(direction * sum(x * e.negative[i, v].norm() for v, x in shares.items()).detach())
            if e.guide is not None:
                seen.append(sum(float(x) * _unit(e.guide.negative[i, v]) for v, x in shares.items()))

    def grown(b: Embeddings, rows: list[Tensor]) -> Embeddings:
        there = torch.tensor(exists).view(n, c.count)
        more = torch.stack(rows).view(n, c.count, -1)
        return replace(
            b,
            negative=torch.cat([b.negative, more], 1),
            negative_mask=torch.cat([b.negative_mask, there], 1),
            negative_id=torch.cat([b.negative_id, torch.zeros(n, c.count, dtype=torch.int64)], 1),
        )

    guide = None if e.guide is None else grown(e.guide, seen)
    return infonce(c, replace(grown(e, made), guide=guide), pieces, temperature)


def mochi(c: o.MoCHi, e: Embeddings, pieces: Pieces, temperature: float | Tensor) -> Rows:
    rng = np.random.default_rng([0x4D495832, e.step])
    sizes = (c.pairs, c.pairs, c.pairs, c.with_query, c.with_query)
    first, second, share, third, of_query = (rng.random((len(e), size)) for size in sizes)
    extra: dict[int, list[Tensor]] = {}
    for i in range(len(e)):
        pool = []
        for vector, seen, known in others(e, i):
            if known and c.mask_duplicates:
                continue
            if c.guide is not None and guide_objects(c, e.guide, i, 0, "q-d", seen):
                continue
            pool.append(vector.detach())
        hard = sorted(pool, key=lambda x: -similarity(e.query[i], x, "cos").item())[: c.hardest]
        hard = [_unit(x) for x in hard]

        def pick(where: float, hard: list[Tensor] = hard) -> Tensor:
            return hard[int(where * len(hard))]

        q = _unit(e.query[i]).detach()
        made = []
        for k in range(c.pairs if hard else 0):
            made.append(share[i, k] * pick(first[i, k]) + (1 - share[i, k]) * pick(second[i, k]))
        for k in range(c.with_query if hard else 0):
            b = c.query_share * of_query[i, k]
            made.append(b * q + (1 - b) * pick(third[i, k]))
        extra[i] = [torch.exp(similarity(e.query[i], x.detach(), "cos") / temperature) for x in made]
    return infonce(c, e, pieces, temperature, extra)
