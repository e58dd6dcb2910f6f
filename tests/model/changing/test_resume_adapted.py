"""Runs with soft prompts, a template, or attention in both directions: resumed bit-exactly, checkpoints read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from embedkit.model.reading.loading import load_saved
from embedkit.recipe.schema import Model, Recipe
from tests.device import DEVICE
from tests.model.architectures import build
from tests.tiny import sentences, tiny_bert
from tests.train.runs import recipe, state, trainer

KINDS: dict[str, dict[str, Any]] = {
    "bert-soft_prompts": {"soft_prompts": {"length": 4}, "head": {"keep": False}},
    "llama-soft_prompts": {"soft_prompts": {"length": 4}, "pooling": "mean"},
    "llama-template-lora": {"template": {"clean": "promptEOL"}, "lora": {"r": 2}},
    "opt-template": {"template": {}},
    "qwen3-bidirectional": {"bidirectional": True, "pooling": "mean"},
}


def adapted(base: Path, options: dict[str, Any], **train: Any) -> Recipe:
    plain = recipe(base, **{"steps": 4, "save_every": 2, "learning_rate": 1e-2, **train})
    model = Model.model_validate({"base": str(base), "max_length": 24, **options})
    return plain.model_copy(update={"model": model})


@pytest.mark.parametrize("kind", KINDS)
def test_four_steps_are_two_and_two(kind: str, tmp_path: Path) -> None:
    if "lora" in KINDS[kind]:
        pytest.importorskip("peft")
    family = kind.partition("-")[0]
    base = tiny_bert(tmp_path / "base") if family == "bert" else build(family, tmp_path / "base")
    wanted = adapted(base, KINDS[kind])
    whole = trainer(wanted, tmp_path / "whole")
    start = {n: v.clone() for n, v in whole.trainee.state_dict().items()}
    whole.train()
    moved = {n for n, v in whole.trainee.state_dict().items() if not torch.equal(v, start[n])}
    assert any(n.startswith("encoder.st.0.") for n in moved)
    if "soft_prompts" in kind:
        assert {n for n in moved if n.startswith("encoder.st.")} == {"encoder.st.0.prompts.weight"}
    resumed = trainer(wanted, tmp_path / "resumed")
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-2"))
    got, want = state(resumed), state(whole)
    assert got.keys() == want.keys() and all(torch.equal(got[n], want[n]) for n in want)
    texts = sentences(6, seed=8)
    folder = tmp_path / "whole" / "checkpoint-4"
    np.testing.assert_allclose(load_saved(folder, DEVICE).encode(texts), whole.encoder.encode(texts), atol=5e-6)


def test_dropout_of_the_prompts_is_replayed(tmp_path: Path) -> None:
    """Encoding twice (GradCache) gives the gradients of the kept graph, masks of the prompts included."""
    base = tiny_bert(tmp_path / "base")
    found = []
    for graph in ("keep", "reforward"):
        run = trainer(adapted(base, KINDS["bert-soft_prompts"], graph=graph, steps=1), tmp_path / graph)
        run.train()
        found.append(state(run))
    keep, again = found
    moments = [n for n in keep if n.startswith("optimizer") and keep[n].numel() == 4 * 2 * 2 * 32]
    assert moments and all(keep[n].abs().max() > 0 for n in moments)
    for name in keep:
        torch.testing.assert_close(again[name], keep[name], rtol=1e-4, atol=1e-6)
