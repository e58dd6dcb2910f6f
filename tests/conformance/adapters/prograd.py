"""Adapters of ProGrad: its projection and its two losses."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from embedkit.objectives.keep_start import softened_cross_entropy
from embedkit.train.prograd import projected
from tests.conformance.runner import Case, adapter


@adapter("retrieval", "prograd_projection")
def projection(case: Case) -> dict[str, Any]:
    """A row stands for a tensor of parameters."""
    strength = float(case.hyper["lambda"])
    rows = zip(case["task_gradient"], case["general_gradient"], strict=True)
    found = [projected(task, general, strength) for task, general in rows]
    gradient = torch.stack([kept for kept, _ in found])
    return {"gradient": gradient.tolist(), "projected": [bool(against) for _, against in found]}


@adapter("retrieval", "prograd_losses")
def losses(case: Case) -> dict[str, Tensor]:
    """Classes stand for documents; the labels are a teacher that is sure."""
    softening, student = float(case.hyper["T"]), case["student"]
    labels = torch.tensor(case.inputs.fields["labels"])
    sure = torch.full_like(student, -torch.inf).scatter(1, labels[:, None], 0.0)
    general = softening**2 * softened_cross_entropy(student / softening, case["teacher"] / softening).mean()
    return {"task_loss": softened_cross_entropy(student, sure).mean(), "general_loss": general}
