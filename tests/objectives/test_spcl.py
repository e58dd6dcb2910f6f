"""SPCL beside a value of the released code (caskcsg/SPCL@cd489397)."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from embedkit.recipe.objectives.spcl import SPCL
from tests.conformance.ours import embeddings, mean
from tests.objectives.helpers import build


def test_near_the_released_code() -> None:
    """Pools of one text each have it as prototype. The golden file's entry, to the constant that is not known."""
    x, centres = (
        torch.from_numpy(np.random.default_rng(seed).standard_normal((rows, 8)))
        for seed, rows in ((1301, 6), (1302, 3))
    )
    objective = build(SPCL()).double()
    objective.memory.push(centres, torch.arange(3))
    query = x.requires_grad_()
    batch = embeddings(query, query.new_zeros(6, 0, 8), label=[0, 1, 2, 0, 1, 0])
    loss = mean(objective(batch, torch.arange(6)))
    (gradient,) = torch.autograd.grad(loss, query)
    assert float(loss.detach()) == pytest.approx(4.103279189457701, rel=5e-9)
    assert float(gradient.norm()) == pytest.approx(3.1266278519630286, rel=5e-9)
