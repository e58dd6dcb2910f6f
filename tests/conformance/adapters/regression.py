"""Adapters of the objectives on texts with a number each."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from embedkit.objectives.base import build, set_up
from embedkit.objectives.logits import unit
from embedkit.objectives.views import Views
from embedkit.recipe.objectives.regression import ConR, SupReMix
from embedkit.types import Embeddings
from tests.conformance.ours import embeddings, option
from tests.conformance.runner import Case, adapter


@adapter("objectives", "conr_clean", "conr")
def conr(case: Case) -> dict[str, Tensor]:
    """The contrastive term alone, with the entry's predictions; the mean over all anchors times their weights.

    `conr` is what the released code gives: everything that is no positive is an e^0 more in the denominator.
    """
    x, score = case["X"], case.inputs.fields["Y"]
    weight = torch.as_tensor(case.hyper["weights"], dtype=x.dtype).expand(len(x))
    said = torch.tensor(case.inputs.fields["P"], dtype=x.dtype)
    config = option(
        ConR,
        temperature=float(case.hyper["t"]),
        window=float(case.hyper["w"]),
        steepness=float(case.hyper["e"]),
    )
    objective: Any = build(config)
    set_up(objective, x.shape[1], seed=0)
    batch = embeddings(x, x.new_zeros(len(x), 0, x.shape[1]), score=score, weight=weight)
    value, _ = objective.contrast(batch, torch.arange(len(x)), said.reshape(-1, 1))
    if case.entry.name == "conr":
        near = (torch.tensor(score)[:, None] - torch.tensor(score)).abs() <= config.window
        positive = near & ~torch.eye(len(x), dtype=torch.bool)
        pulled = (unit(x) @ unit(x).T / config.temperature * positive).sum(1) / positive.sum(1)
        more = (~positive).sum(1).to(x.dtype).log()
        value = torch.where(value != 0, torch.logaddexp(value + pulled, more) - pulled, 0.0)
    return {"loss": (value * weight).mean()}


@adapter("objectives", "supremix_no_mix", "supremix_consistent", "supremix")
def supremix(case: Case) -> dict[str, Tensor]:
    """Views [V, N, d]; the share of the anchor is given.

    `supremix` is what the released code gives: texts and mixtures, each less their own largest logit, under one sum.
    """
    mix = case.entry.name != "supremix_no_mix"
    kinds = {"L1_inv": "absolute", "L2_inv": "squared"}
    options: dict[str, Any] = {"window": float(case.hyper["window"])} if mix else {}
    config = option(
        SupReMix,
        temperature=float(case.hyper["temperature"]),
        distance=kinds[case.hyper.only("distance", *kinds)],
        mix=mix,
        **options,
    )
    views = case["V"].transpose(0, 1)
    objective: Any = build(config)
    if mix:
        share = torch.full(views.shape[:2], float(case.hyper["alpha_neg"]), dtype=views.dtype)
        objective.draw = lambda e: share
    batch = embeddings(views[:, 0], views[:, 1:], score=case.inputs.fields["targets"])
    if case.entry.name == "supremix":
        return {"loss": _as_released(case, objective, batch)}
    out = objective(batch, torch.arange(len(batch)))
    return {"loss": (out.value * out.weight).sum() / out.weight.sum()}


def _as_released(case: Case, objective: Any, batch: Embeddings) -> Tensor:
    case.hyper.only("mixtures_detached", True)
    case.hyper.only("mixtures_renormalised", False)
    views = Views(batch, torch.arange(len(batch)))
    assert batch.score is not None
    gap = views.spread(batch.score - batch.score.T)
    texts, mixtures = objective.sides(batch, views, gap)
    logits, alpha = views.cosine.detach() / objective.temperature, float(case.hyper["alpha_neg"])
    top = logits.max(1).values
    negative = (alpha * logits.diagonal()[:, None] + (1 - alpha) * logits).masked_fill(gap == 0, -torch.inf)
    nearer = gap.abs() < objective.window
    both = ((gap > 0) & nearer)[:, :, None] & ((gap < 0) & nearer)[:, None]
    share = -gap[:, None] / torch.where(both, gap[:, :, None] - gap[:, None], 1.0)
    positive = (share * logits[:, :, None] + (1 - share) * logits[:, None]).masked_fill(~both, -torch.inf)
    other = torch.maximum(negative.max(1).values, positive.flatten(1).max(1).values)
    total = torch.logaddexp(texts.total - top, mixtures.total - other)
    pulled = texts.pulled - texts.count * top + mixtures.pulled - mixtures.count * other
    return (total - pulled / (texts.count + mixtures.count)).mean()
