"""InfoNCE as a loop."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from embedkit.recipe import weighting as w
from embedkit.types import Embeddings
from tests.objectives import options as o
from tests.objectives.naive.base import Rows, example_weight, ids, similarity


def infonce(
    c: o.InfoNCE,
    e: Embeddings,
    pieces: tuple[w.WeightingConfig, ...],
    temperature: float | Tensor,
    extra: Mapping[int, list[Tensor]] | None = None,
) -> Rows:
    """`extra`: exponentials that join the denominator of a row's q-d."""
    values, weights = [], []
    for i in range(len(e)):
        terms = _terms(c, e, i, pieces, temperature, (extra or {}).get(i, []))
        inside, outside, negatives = [], [], 0
        for loss, p, count in terms:
            factor_in, factor_out = 1.0, 1.0
            for piece in pieces:
                if isinstance(piece, w.Focal):
                    f = (1 - p) ** piece.gamma if count else torch.zeros(()).double() ** piece.gamma
                    f = f.detach() if piece.detach else f
                    if piece.normalize == "weight":
                        factor_out = factor_out * f
                    else:
                        factor_in = factor_in * f
            inside.append(factor_in * factor_out * loss)
            outside.append(torch.as_tensor(factor_out, dtype=torch.float64))
            negatives += count
        total = torch.stack(outside).sum()
        values.append(torch.stack(inside).sum() / total if total > 0 else total)
        weights.append(example_weight(e, i) * total / len(terms) * (negatives > 0))
    for piece in pieces:
        if isinstance(piece, w.Dynamic):
            weights = [x * f for x, f in zip(weights, _dynamic(piece, values, weights), strict=True)]
    return torch.stack(values), torch.stack(weights)


def _dynamic(piece: w.Dynamic, values: list[Tensor], weights: list[Tensor]) -> list[float]:
    """Row factors up to a constant; that of embedkit is the largest exponent there can be."""
    losses = [float(v.detach()) for v in values]
    seen = [x for x, weight in zip(losses, weights, strict=True) if float(weight.detach()) > 0]
    low, high, d = min(seen), max(seen), piece.delta
    factors = []
    for x in losses:
        h = min(max(2 * d * x / (high - low) - d * (high + low) / (high - low), -d), d)
        f = {"linupper": min(h + d, d), "uniform": h, "quadratic": 1 - h * h / d**2, "extremes": abs(h)}
        factors.append(math.exp((f[piece.strategy] - max(d, 1)) / piece.r))
    return factors


def _terms(
    c: o.InfoNCE,
    e: Embeddings,
    i: int,
    pieces: tuple[w.WeightingConfig, ...],
    temperature: float | Tensor,
    extra: list[Tensor],
) -> list[tuple[Tensor, Tensor, int]]:
    """(loss, probability of the positive, number of negatives) per positive and softmax of row i."""
    groups = [c.directions]
    if c.partition == "per_direction":
        groups = [tuple(d for d in c.directions if d[0] == side) for side in "qd"]
    out = []
    for group in filter(None, groups):
        for k in range(e.positive.shape[1]):
            positive = torch.exp(similarity(e.query[i], e.positive[i, k], c.similarity) / temperature)
            negatives = list(extra) if "q-d" in group else []
            for direction in group:
                negatives += negatives_of(c, e, i, k, direction, pieces, temperature)
            times = sum(d in ("q-d", "d-q") for d in group)
            times = {"each": times, "once": 1, "never": 0}[c.positive_in_denominator]
            rest = torch.stack(negatives).sum() if negatives else torch.zeros((), dtype=torch.float64)
            shown = max(times, 1) * positive
            if times == 0:
                loss = torch.log(rest / positive) if negatives else rest
            else:
                loss = torch.log((times * positive + rest) / positive)
            if c.soft_targets != "none":
                y = e.score[i, 0]
                spread = positive.log() - torch.stack(negatives).log().mean() if negatives else 0.0
                loss = y * loss if c.soft_targets == "positive" else loss + (1 - y) * spread
            out.append((loss, shown / (shown + rest), len(negatives)))
    return out


def guide_objects(c: o.InfoNCE, g: Embeddings, i: int, k: int, direction: str, candidate: Tensor) -> bool:
    """Whether the guide takes the candidate for a false negative of row i (with positive k)."""
    pairs = [similarity(g.query[i], p, "cos") for p in g.positive[i]]
    pair = max(pairs) if direction[0] == "q" else pairs[k]
    limit = {"absolute": pair - c.guide_margin, "relative": pair - c.guide_margin * abs(pair)}.get(c.guide)
    anchor = g.query[i] if direction[0] == "q" else g.positive[i, k]
    return bool(similarity(anchor, candidate, "cos") > (c.guide_margin if limit is None else limit))


def negatives_of(
    c: o.InfoNCE,
    e: Embeddings,
    i: int,
    k: int,
    direction: str,
    pieces: tuple[w.WeightingConfig, ...],
    temperature: float | Tensor,
) -> list[Tensor]:
    """exp(logit) of every negative of row i (with positive k) in one direction."""
    match_i = ids(e.query_id[i], e.positive_id[i], e.known_id[i])
    anchor = e.query[i] if direction[0] == "q" else e.positive[i, k]
    own = [similarity(e.query[i], e.positive[i, v], c.similarity) for v in range(e.positive.shape[1])]
    limit = max(own) if direction[0] == "q" else own[k]
    found = []
    for j in range(len(e)):
        g = e.guide or e
        candidates = []  # (embedding, the guide's, id, is an explicit negative)
        if direction[2] == "q":
            candidates.append((e.query[j], g.query[j], int(e.query_id[j]), False))
        else:
            for v in range(e.positive.shape[1]):
                candidates.append((e.positive[j, v], g.positive[j, v], int(e.positive_id[j, v]), False))
            for v in range(e.negative.shape[1]):
                if e.negative_mask[j, v]:
                    candidates.append((e.negative[j, v], g.negative[j, v], int(e.negative_id[j, v]), True))
        for vector, seen, text, explicit in candidates:
            if i == j and not (explicit and (direction == "q-d" or c.same_side == "all")):
                continue
            if i != j and not c.in_batch_negatives:
                continue
            if i != j and explicit and not c.other_negatives:
                continue
            if direction == "d-d" and explicit and c.same_side == "positives":
                continue
            if c.mask_duplicates:
                if direction == "d-q":
                    match_j = ids(e.query_id[j], e.positive_id[j], e.known_id[j])
                    known = text in ids(e.query_id[i]) or bool(match_j & ids(e.positive_id[i]))
                else:
                    asked_again = bool(ids(e.query_id[i]) & ids(e.query_id[j]))
                    known = text in match_i or (direction[2] == "d" and asked_again and not explicit)
                if known:
                    continue
            s = similarity(anchor, vector, c.similarity)
            if c.guide is not None and guide_objects(c, e.guide, i, k, direction, seen):
                continue
            if c.false_negative_margin is not None and direction != "d-d" and s > limit + c.false_negative_margin:
                continue
            own_explicit = direction == "q-d" and i == j
            logit = s / temperature + (c.hard_negative_weight if own_explicit else 0.0)
            for piece in pieces:
                if isinstance(piece, w.Hardness):
                    touched = {"all": True, "own": own_explicit, "in_batch": not own_explicit}[piece.on]
                    logit = logit + piece.alpha * s.detach() * touched
            found.append(torch.exp(logit))
    return found
