"""Adapters of optimisers."""

from __future__ import annotations

from typing import Any

import torch

from embedkit.train.optimizers import Lion
from tests.conformance.runner import Case, adapter


@adapter("objectives", "lion")
def lion(case: Case) -> dict[str, Any]:
    """Gradients that are given, one after the other."""
    weights = torch.nn.Parameter(case["p0"].clone())
    options = {"lr": case.hyper["lr"], "weight_decay": case.hyper["weight_decay"]}
    optimizer = Lion([weights], betas=(case.hyper["beta1"], case.hyper["beta2"]), **options)
    after = []
    for gradient in case["grads"]:
        weights.grad = gradient
        optimizer.step()
        after.append(weights.detach().tolist())
    return {"extra.params_after_each_step": after, "extra.exp_avg_final": optimizer.state[weights]["exp_avg"]}
