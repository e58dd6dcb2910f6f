"""Adapter of SimLAP: class vectors are an array of the entry."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from embedkit.objectives.base import build, set_up
from embedkit.recipe.objectives.simlap import SimLAP
from tests.conformance.ours import embeddings, mean, option
from tests.conformance.runner import Case, adapter


@adapter("objectives", "hydra_simlap")
def simlap(case: Case) -> dict[str, Tensor]:
    """G [C, d] are the class vectors, without a net; the authors keep an anchor among its own positives."""
    case.inputs.fields.only("gate", "sigmoid((G[y]+G[y2])/2)")
    z, vectors, labels, second = case["Z"], case["G"], case["y"], case["y2"]
    config = option(SimLAP, classes=len(vectors), scale=float(case.hyper["scale"]), hidden=None, with_itself=True)
    objective: Any = build(config)
    set_up(objective, z.shape[1], seed=0)
    del objective.vectors
    objective.vectors, objective.partners = vectors, lambda e, labels: second
    batch = embeddings(z, z.new_zeros(len(z), 0, z.shape[1]), label=labels)
    return {"loss": mean(objective(batch, torch.arange(len(batch))))}
