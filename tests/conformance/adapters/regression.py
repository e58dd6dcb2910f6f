"""Adapters of the objectives on texts with a number each."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from embedkit.objectives.base import build, set_up
from embedkit.recipe.objectives.regression import ConR, SupReMix
from tests.conformance.ours import embeddings, option
from tests.conformance.runner import Case, adapter


@adapter("objectives", "conr_clean")
def conr(case: Case) -> dict[str, Tensor]:
    """The contrastive term alone, with the entry's predictions; the mean over all anchors times their weights."""
    x = case["X"]
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
    batch = embeddings(x, x.new_zeros(len(x), 0, x.shape[1]), score=case.inputs.fields["Y"], weight=weight)
    value, _ = objective.contrast(batch, torch.arange(len(x)), said.reshape(-1, 1))
    return {"loss": (value * weight).mean()}


@adapter("objectives", "supremix_no_mix", "supremix_consistent")
def supremix(case: Case) -> dict[str, Tensor]:
    """Views [V, N, d]; the share of the anchor is given."""
    mix = case.entry.name == "supremix_consistent"
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
    out = objective(batch, torch.arange(len(batch)))
    return {"loss": (out.value * out.weight).sum() / out.weight.sum()}
