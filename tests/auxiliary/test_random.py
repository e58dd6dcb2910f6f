"""What dropout draws: the same with a kept graph and with re-forward, over several updates; reduced precision."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.auxiliary.test_resume import ONE_FAST, recipe
from tests.train.runs import trainer


@pytest.mark.parametrize("name", ONE_FAST)
def test_keep_and_reforward_draw_the_same_masks(name: str, folder: Path, tmp_path: Path) -> None:
    """Losses of four updates with dropout; one other mask would change them in the second digit."""
    losses = []
    for graph in ("keep", "reforward"):
        made = recipe(name, folder)
        train = made.train.model_copy(update={"graph": graph, "log_every": 1, "save_every": None})
        t = trainer(made.model_copy(update={"train": train}), tmp_path / graph)
        t.train()
        losses.append([line["loss"] for line in t.state.log_history if "loss" in line])
    assert len(losses[0]) == 4
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


@pytest.mark.parametrize("name", ONE_FAST)
def test_bf16(name: str, folder: Path, tmp_path: Path) -> None:
    made = recipe(name, folder)
    train = made.train.model_copy(update={"precision": "bf16", "steps": 2, "save_every": None})
    t = trainer(made.model_copy(update={"train": train}), tmp_path)
    t.train()
    assert all(torch.isfinite(p).all() and p.dtype == torch.float32 for p in t.trainee.parameters())
