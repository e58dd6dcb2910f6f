"""Objectives that remember, as loops: `past` are the batches that they were shown before, oldest first."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from embedkit.types import Embeddings
from tests.objectives import options as o
from tests.objectives.naive.base import ZERO, Rows, example_weight, ids, similarity

Past = list[Embeddings]


def _keys(e: Embeddings, momentum: float | None) -> Tensor:
    seen = e if momentum is None else e.target
    assert seen is not None
    return seen.positive.detach()


def _queue(past: Past, size: int, momentum: float | None) -> list[tuple[Tensor, int, int]]:
    """(key, its text, the query it answers), oldest first."""
    found = []
    for e in past:
        for i in range(len(e)):
            for k in range(e.positive.shape[1]):
                found.append((_keys(e, momentum)[i, k], int(e.positive_id[i, k]), int(e.query_id[i])))
    return found[-size:] if size else []


def _allowed(e: Embeddings, i: int, queue: list[tuple[Tensor, int, int]], mask: bool) -> list[Tensor]:
    match = ids(e.query_id[i], e.positive_id[i], e.known_id[i])
    return [key for key, text, asked in queue if not mask or (text not in match and asked != int(e.query_id[i]))]


def moco(c: o.MoCo, e: Embeddings, past: Past) -> Rows:
    values, weights = [], []
    queue = _queue(past, c.queue, c.momentum)
    for i in range(len(e)):
        scores = [similarity(e.query[i], key, "cos") for key in _allowed(e, i, queue, c.mask_duplicates)]
        scores = sorted(scores, key=lambda s: float(s.detach()), reverse=True)[: c.top or len(scores)]
        terms = []
        for k in range(e.positive.shape[1]):
            positive = similarity(e.query[i], _keys(e, c.momentum)[i, k], "cos") / c.temperature
            total = positive.exp() + sum(((s / c.temperature).exp() for s in scores), ZERO)
            terms.append(total.log() - positive)
        values.append(torch.stack(terms).mean())
        weights.append(example_weight(e, i) * bool(scores))
    return torch.stack(values), torch.stack(weights)


def feature_transform(c: o.FeatureTransform, e: Embeddings, past: Past) -> Rows:
    queue = _queue(past, c.queue, c.momentum)
    rng = np.random.default_rng([0x46545231, e.step])
    apart = 1 + rng.beta(c.positive_alpha or 1.0, c.positive_alpha or 1.0)
    share = rng.beta(c.negative_alpha or 1.0, c.negative_alpha or 1.0)
    order = rng.permutation(len(queue))
    values, weights = [], []
    for i in range(len(e)):
        q = e.query[i] / e.query[i].norm()
        allowed = [bool(_allowed(e, i, [one], c.mask_duplicates)) for one in queue]
        terms, seen = [], 0
        for k in range(e.positive.shape[1]):
            key = _keys(e, c.momentum)[i, k]
            key = key / key.norm()
            a, b = (
                (q, key) if c.positive_alpha is None else (apart * q + (1 - apart) * key, apart * key + (1 - apart) * q)
            )
            rest = []
            for j, (stored, _, _) in enumerate(queue):
                other = queue[order[j]][0]
                n, m = stored / stored.norm(), other / other.norm()
                if c.negative_alpha is None and allowed[j]:
                    rest.append(a @ n)
                if c.negative_alpha is not None and allowed[j] and allowed[order[j]]:
                    rest.append(a @ (share * n + (1 - share) * m))
            seen += len(rest)
            logits = torch.stack([a @ b, *rest]) / c.temperature
            terms.append(logits.exp().sum().log() - logits[0])
        values.append(torch.stack(terms).mean())
        weights.append(example_weight(e, i) * bool(seen))
    return torch.stack(values), torch.stack(weights)


def ascl(c: o.ASCL, e: Embeddings, past: Past) -> Rows:
    values, weights = [], []
    keys = _keys(e, c.momentum)[:, 0]
    queue = _queue(past, c.queue, c.momentum)
    for i in range(len(e)):
        if not c.queue:
            queue = [(keys[j], int(e.positive_id[j, 0]), int(e.query_id[j])) for j in range(len(e)) if j != i]
        others = _allowed(e, i, queue, c.mask_duplicates)
        if not others:
            values.append((e.query[i] * 0).sum())
            weights.append(ZERO)
            continue
        near = torch.stack([similarity(keys[i], key, "cos") for key in others])
        r = (near / c.target_temperature).softmax(0)
        entropy = -sum(float(x) * math.log(float(x)) for x in r if float(x) > 0)
        sure = 1 - entropy / math.log(len(others)) if len(others) > 1 else 0.0
        share = [min(1.0, sure * c.neighbours * float(x)) for x in r]
        if c.targets != "soft":
            best = near.argsort(descending=True)[: c.neighbours].tolist()
            share = [(sure if c.targets == "adaptive" else 1.0) * (j in best) for j in range(len(others))]
        logits = [similarity(e.query[i], key, "cos") / c.temperature for key in (keys[i], *others)]
        log_p = torch.stack(logits).log_softmax(0)
        y = torch.tensor([1.0, *share], dtype=torch.float64)
        values.append(-(y / y.sum() * log_p).sum())
        weights.append(example_weight(e, i))
    return torch.stack(values), torch.stack(weights)


def _views(e: Embeddings, i: int) -> tuple[Tensor, Tensor]:
    return e.query[i], e.positive[i, 0]


def _rivals(c: o.SogCLR, e: Embeddings, i: int, side: int) -> list[Tensor]:
    match = ids(e.query_id[i], e.positive_id[i], e.known_id[i])
    others = [j for j in range(len(e)) if j != i and not match & ids(e.query_id[j], e.positive_id[j])]
    if c.contrast == "pairs":
        return [_views(e, j)[1 - side] for j in others]
    return [v for j in others for v in _views(e, j)]


States = dict[int, list[list[float]]]
"""[s, u, t] by query id: of both sides for pairs, of one for views."""


def _row(c: o.SogCLR, e: Embeddings, i: int, table: States) -> dict[str, Any]:
    """g, s, the surrogate and the temperature's gradient of row i."""
    known = table.get(int(e.query_id[i]))
    loss, states, slopes = (e.query[i] * 0).sum(), [], []
    positive = similarity(*_views(e, i), "cos")
    for side, view in enumerate(_views(e, i)):
        old = (0.0, 0.0, c.temperature) if known is None else known[side if c.contrast == "pairs" else 0]
        gamma = 1.0 if known is None else c.gamma
        scores = [similarity(view, z, "cos") for z in _rivals(c, e, i, side)]
        if not scores:
            continue
        if c.contrast == "pairs":
            scores = [s - positive for s in scores]
        else:
            loss = loss - positive
        hs = [s / old[2] for s in scores]
        s = (1 - gamma) * old[0] + gamma * float(torch.stack([h.detach().exp() for h in hs]).mean())
        slope = math.log(s) + (c.rho or 0.0)
        for score, h in zip(scores, hs, strict=True):
            w = float(h.detach().exp()) / s / len(hs)
            loss = loss + w * score
            slope -= w * float(h.detach())
        states.append(s)
        slopes.append(slope)
    return {"loss": loss, "s": states, "slope": slopes, "has": bool(states)}


def _moved(c: o.SogCLR, old: list[float], slope: float) -> list[float]:
    """u and t after a step."""
    if c.rho is None:
        return old[1:]
    if c.temperature_clip is not None:
        slope = max(-c.temperature_clip, min(c.temperature_clip, slope))
    u = (1 - c.temperature_momentum) * old[1] + c.temperature_momentum * slope
    return [u, max(c.temperature_bounds[0], min(c.temperature_bounds[1], old[2] - c.temperature_rate * u))]


def sogclr_table(c: o.SogCLR, past: Past) -> States:
    table: States = {}
    for e in past:
        new: dict[int, list[list[list[float]]]] = {}
        for i in range(len(e)):
            row = _row(c, e, i, table)
            if not row["has"]:
                continue
            sides = 2 if c.contrast == "pairs" else 1
            old = table.get(int(e.query_id[i]), [[0.0, 0.0, c.temperature]] * sides)
            if sides == 2:
                found = [[row["s"][k], *_moved(c, old[k], row["slope"][k])] for k in (0, 1)]
            else:
                found = [[sum(row["s"]) / 2, *_moved(c, old[0], sum(row["slope"]) / 2)]]
            new.setdefault(int(e.query_id[i]), []).append(found)
        for text, rows in new.items():  # the mean of a text given twice
            table[text] = [
                [
                    math.exp(sum(math.log(r[k][0]) for r in rows) / len(rows)),
                    *(sum(r[k][n] for r in rows) / len(rows) for n in (1, 2)),
                ]
                for k in range(len(rows[0]))
            ]
    return table


def sogclr(c: o.SogCLR, e: Embeddings, past: Past) -> Rows:
    table = sogclr_table(c, past)
    rows = [_row(c, e, i, table) for i in range(len(e))]
    weights = [example_weight(e, i) * rows[i]["has"] for i in range(len(e))]
    return torch.stack([row["loss"] for row in rows]), torch.stack(weights)


def spcl(c: o.SPCL, e: Embeddings, past: Past) -> Rows:
    """For pools that are no larger than the support, so that nothing is drawn."""
    pools: dict[int, list[Tensor]] = {}
    for batch in past:
        for i in range(len(batch)):
            q = batch.query[i]
            pools.setdefault(int(batch.label[i]), []).append(q / q.norm())
    assert c.pool <= c.support
    prototypes = {label: torch.stack(texts[-c.pool :]).mean(0) for label, texts in pools.items()}
    values, weights = [], []
    for i in range(len(e)):
        keys = [(e.query[j], int(e.label[j])) for j in range(len(e)) if j != i]
        keys += [(p, label) for label, p in prototypes.items()]
        scores = [(((1 + similarity(e.query[i], k, "cos")) / 2 + 1e-8) / c.temperature, own) for k, own in keys]
        own = [s.exp() for s, label in scores if label == int(e.label[i])]
        if not own:
            values.append((e.query[i] * 0).sum())
            weights.append(ZERO)
            continue
        every = torch.stack([s.exp() for s, _ in scores]).sum()
        loss = -(torch.stack(own).sum() / every / len(own) + 1e-8).log()
        values.append(loss)
        weights.append(example_weight(e, i) * (c.ignore_below == 0 or float(loss.detach()) > c.ignore_below))
    return torch.stack(values), torch.stack(weights)
