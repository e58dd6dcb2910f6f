"""Resuming is bit-exact with auxiliaries: their weights, optimiser moments and random state included."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from embedkit.recipe.schema import Recipe
from tests.device import DEVICE
from tests.tiny import sentences
from tests.train.runs import state, trainer
from tests.train.test_resume import assert_equal

CASES: dict[str, dict[str, Any]] = {
    "mlm": {"auxiliary": [{"name": "mlm", "rate": 0.3}]},
    "mlm-alone": {"auxiliary": ["mlm"], "objective": "none", "views": {"count": 1}},
    "diffcse": {
        "auxiliary": [{"name": "replaced_tokens", "generator": "GENERATOR", "generator_mode": "sample"}],
        "heads": ["batch_norm_projector"],
    },
    "diffcse-generator-dropout": {
        "auxiliary": [{"name": "replaced_tokens", "generator": "GENERATOR", "generator_train_mode": True}]
    },
    "tsdae": {
        "auxiliary": ["tsdae"],
        "objective": "none",
        "views": {"count": 1, "transforms": [[{"name": "delete_words", "rate": 0.6}]]},
    },
    "translico": {
        "auxiliary": [{"name": "mlm", "mask_inputs": True}],
        "model": {"pooling": "mean", "pooling_layer": 1},
    },
}
ONE_FAST = [name if name == "diffcse" else pytest.param(name, marks=pytest.mark.slow) for name in CASES]


def recipe(name: str, folder: Path) -> Recipe:
    options = CASES[name]
    auxiliary = [
        {k: str(folder / "generator") if v == "GENERATOR" else v for k, v in a.items()} if isinstance(a, dict) else a
        for a in options["auxiliary"]
    ]
    source = {"rows": [{"text": t} for t in sentences(40, seed=6)], "roles": {"text": "text"}}
    return Recipe.model_validate(
        {
            **options,
            "auxiliary": auxiliary,
            "model": {"base": str(folder / "base"), "max_length": 24, "pooling": "cls", **options.get("model", {})},
            "data": {"sources": [source]},
            "train": {
                "batch_size": 8,
                "accumulation": 2,
                "steps": 4,
                "save_every": 2,
                "keep_checkpoints": 9,
                "learning_rate": 1e-3,
                "weight_decay": 0.01,
                "device": DEVICE,
                "tokens_per_micro_batch": 64,
            },
        }
    )


@pytest.mark.parametrize("name", ONE_FAST)
def test_four_steps_are_two_and_two(name: str, folder: Path, tmp_path: Path) -> None:
    whole = trainer(recipe(name, folder), tmp_path / "whole")
    start = {n: v.clone() for n, v in whole.trainee.state_dict().items()}
    whole.train()
    for part in ("encoder.", "auxiliaries."):
        assert any(n.startswith(part) and (v != start[n]).any() for n, v in whole.trainee.state_dict().items()), part
    resumed = trainer(recipe(name, folder), tmp_path / "resumed")
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-2"))
    assert resumed.state.global_step == 4
    assert_equal(state(resumed), state(whole))
