"""The objectives on labels as loops; those that remember are shown `past` first, oldest batch first."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from embedkit.types import Embeddings
from tests.objectives import options as o
from tests.objectives.naive.base import ZERO, Rows, example_weight, ids, similarity

Past = list[Embeddings]


def _flat(e: Embeddings) -> list[tuple[int, Tensor]]:
    return [(i, x) for i in range(len(e)) for x in (e.query[i], *e.positive[i])]


def _mean_of_views(e: Embeddings, losses: list[tuple[int, Tensor]]) -> Rows:
    """Each row's mean over its views that have a loss, and their share as its weight."""
    values, weights = [], []
    for i in range(len(e)):
        own = [loss for j, loss in losses if j == i]
        values.append(torch.stack(own).mean() if own else (e.query[i] * 0).sum())
        weights.append(example_weight(e, i) * len(own) / (1 + e.positive.shape[1]))
    return torch.stack(values), torch.stack(weights)


def core_tuning(c: o.CoreTuning, e: Embeddings) -> Rows:
    assert e.label is not None
    flat, losses = _flat(e), []
    for a, (i, x) in enumerate(flat):
        match = ids(e.query_id[i], e.positive_id[i], e.known_id[i])
        rest = [(j, similarity(x, y, "cos") / c.temperature) for b, (j, y) in enumerate(flat) if b != a]
        total = torch.stack([s for _, s in rest]).exp().sum()
        terms = []
        for j, s in rest:
            if j == i or int(e.label[i]) == int(e.label[j]) or match & ids(e.query_id[j], e.positive_id[j]):
                p = s.exp() / total
                terms.append(-((1 - p) ** c.focus) * p.log())
        losses += [(i, torch.stack(terms).mean())] if terms else []
    return _mean_of_views(e, losses)


def gml(c: o.GML, e: Embeddings, past: Past, parameters: dict[str, Tensor] | None = None) -> Rows:
    assert e.label is not None
    learned = None if parameters is None else parameters["log_temperature"]
    kept: dict[int, list[Tensor]] = {}
    counts: dict[int, int] = {}
    for batch in [*past, e]:
        assert batch.label is not None
        for i in range(len(batch)):
            label = int(batch.label[i])
            counts[label] = counts.get(label, 0) + 1
            if batch is not e and c.pool:
                kept[label] = [*kept.get(label, []), batch.query[i]][-c.pool :]
    keys = [(j, v, int(e.label[j]), x) for j in range(len(e)) for v, x in enumerate((e.query[j], *e.positive[j]))]
    keys += [(-1, 0, label, x) for label, texts in kept.items() for x in texts]
    shown = {label for _, _, label, _ in keys}
    prior = {label: counts[label] if c.prior is None else c.prior[label] for label in shown}
    every = sum(prior.values()) if c.prior is None else sum(c.prior)
    values, weights = [], []
    for i in range(len(e)):
        loss = (e.query[i] * 0).sum()
        times = [(c.temperature, False, False)]
        if learned is not None:
            times = [(learned.detach().exp(), False, False), (learned.exp(), True, True)]
        counted = False
        for t, constant, strangers in times:
            logits = {}
            for label in shown:
                scores = [
                    similarity(e.query[i].detach(), x.detach(), "cos") if constant else similarity(e.query[i], x, "cos")
                    for j, v, own, x in keys
                    if own == label and not (j == i and (strangers or v == 0))
                ]
                if scores:
                    logits[label] = (torch.stack(scores) / t).exp().mean().log() + math.log(prior[label] / every)
            own = int(e.label[i])
            if own in logits:
                loss = loss + torch.stack(list(logits.values())).logsumexp(0) - logits[own]
                counted = counted or not constant
        values.append(loss)
        weights.append(example_weight(e, i) * counted)
    return torch.stack(values), torch.stack(weights)


def _assigned(c: o.SBCL, past: Past) -> dict[int, tuple[int, float]]:
    """Subclass and temperature by text id; every class clustered where a step says so."""
    texts: dict[int, tuple[int, Tensor]] = {}
    found: dict[int, tuple[int, float]] = {}
    for batch in past:
        assert batch.label is not None
        for i in reversed(range(len(batch))):
            texts[int(batch.query_id[i])] = int(batch.label[i]), batch.query[i] / batch.query[i].norm()
        if (batch.step + 1) % c.every:
            continue
        classes = {label: sorted(t for t in texts if texts[t][0] == label) for label in {v[0] for v in texts.values()}}
        size = max(c.smallest, min(len(own) for own in classes.values()))
        phi, begin = {}, 0
        for label in sorted(classes):
            x = torch.stack([texts[t][1] for t in classes[label]])
            parts = max(1, len(x) // size)
            order = torch.randperm(len(x), generator=torch.Generator().manual_seed(batch.step))
            centres = [x[int(k)] for k in order[:parts]]
            for _ in range(11):
                of = [max(range(parts), key=lambda k, row=row: float(row @ centres[k])) for row in x]  # type: ignore
                sums = [sum((row for row, k in zip(x, of, strict=True) if k == part), ZERO) for part in range(parts)]
                centres = [s / s.norm() if s.ndim else old for s, old in zip(sums, centres, strict=True)]
            found |= {t: (begin + k, float(parts > 1)) for t, k in zip(classes[label], of, strict=True)}
            begin += parts
            away = [float((row - x.mean(0)).norm()) for row in x]
            phi[label] = sum(away) / len(away) / math.log(len(x) + 10)
        values = torch.tensor(list(phi.values()), dtype=torch.float64)
        low, high = float(values.quantile(0.2)), float(values.quantile(0.8))
        clipped = {label: min(max(p, low), high) for label, p in phi.items()}
        mean = sum(clipped.values()) / len(clipped)
        found = {
            t: (k, c.temperature * clipped[texts[t][0]] / mean if several else c.temperature)
            for t, (k, several) in found.items()
        }
    return found


def sbcl(c: o.SBCL, e: Embeddings, past: Past) -> Rows:
    assert e.label is not None
    given = _assigned(c, past)
    label = [int(v) for v in e.label]
    part = [given.get(int(e.query_id[i]), (f"class {label[i]}", 0.0))[0] for i in range(len(e))]
    flat, losses = _flat(e), []
    for a, (i, x) in enumerate(flat):
        rest = [(j, similarity(x, y, "cos")) for b, (j, y) in enumerate(flat) if b != a]
        loss, counted = (x * 0).sum(), False
        clustered = int(e.query_id[i]) in given
        t = given[int(e.query_id[i])][1] if clustered else c.temperature
        alike = [part[j] == part[i] for j, _ in rest]
        same = [label[j] == label[i] for j, _ in rest]
        own = [j == i for j, _ in rest]
        everyone = [True] * len(rest)
        terms = [(c.temperature / c.base_temperature, c.temperature, alike, everyone)]
        if clustered and c.variant == "ccl":
            terms.append((c.gamma, c.temperature, same, everyone))
        elif clustered:
            near = [(s and not k) or mine for s, k, mine in zip(same, alike, own, strict=True)]
            against = [not k or mine for k, mine in zip(alike, own, strict=True)]
            terms.append((c.gamma, t, near, against))
        for factor, temperature, positive, candidate in terms:
            logits = [s / temperature for _, s in rest]
            chosen = [s for s, yes in zip(logits, positive, strict=True) if yes]
            if chosen:
                total = torch.stack([s for s, yes in zip(logits, candidate, strict=True) if yes]).logsumexp(0)
                loss = loss + factor * (total - torch.stack(chosen).mean())
                counted = True
        losses += [(i, loss)] if counted else []
    return _mean_of_views(e, losses)
