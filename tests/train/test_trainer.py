"""The trainer around the step: guards, logs, evaluation, best checkpoint, early stopping."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
import torch

from embedkit.errors import TrainingError
from embedkit.recipe.schema import Recipe
from embedkit.train import checkpoint
from tests.tiny import sentences, tiny_bert
from tests.train.runs import recipe, trainer


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bert(tmp_path_factory.mktemp("base"))


def with_evaluation(r: Recipe, **options: object) -> Recipe:
    suite = {"tasks": [{"type": "sts", "name": "x", "files": ["unused.tsv"]}]}
    return Recipe.model_validate(
        {**r.model_dump(), "eval": {"suite": suite, "every": 2, "select": "average", **options}}
    )


def test_non_finite_loss_stops_with_the_batch_on_disk(base: Path, tmp_path: Path) -> None:
    t = trainer(recipe(base), tmp_path)
    with torch.no_grad():
        next(t.encoder.module.st[0].auto_model.encoder.layer[0].parameters()).fill_(float("nan"))
    with pytest.raises(TrainingError, match="step 0"):
        t.train()
    failed = json.loads((tmp_path / "failed-step-0-process-0.json").read_text(encoding="utf-8"))
    assert failed["rows"][0]["text"] and failed["origins"] and failed["rows"][0]["input_ids"]


def test_collapse_is_reported_once(base: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    t = trainer(recipe(base, collapse_guard=0.01, learning_rate=1e-9), tmp_path)
    with torch.no_grad():
        for name, p in t.encoder.head.named_parameters():
            p.fill_(0.5 if name.endswith("bias") else 0.0)  # every text gets the same vector
    with caplog.at_level(logging.WARNING, logger="embedkit.train.guards"):
        t.train()
    assert t.guards.collapsed_at == 1
    assert sum("collapsing" in r.message for r in caplog.records) == 1


def test_a_batch_without_a_negative_left_is_reported_once(
    base: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pairs = tuple({"query": text, "positive": "the same answer"} for text in sentences(16, seed=3))
    made = recipe(base, steps=2, accumulation=1)
    source = made.data.sources[0].model_copy(update={"rows": pairs, "weight": None})
    t = trainer(made.model_copy(update={"data": made.data.model_copy(update={"sources": (source,)})}), tmp_path)
    t.train()
    assert [r.getMessage()[:40] for r in caplog.records if "negative left" in r.getMessage()] == [
        "step 0: no row has a negative left: all "
    ]
    assert t.guards.masked_at == 0


def test_logs_carry_metrics_tokens_and_padding(base: Path, tmp_path: Path) -> None:
    t = trainer(recipe(base), tmp_path)
    t.train()
    lines = [h for h in t.state.log_history if "loss" in h]
    assert len(lines) == 8
    assert {"query_cosine", "tokens", "padding", "grad_norm", "learning_rate"} <= lines[0].keys()
    assert all(h["tokens"] > 0 and 0 <= h["padding"] < 1 for h in lines)


def test_best_checkpoint_is_kept_and_loaded(base: Path, tmp_path: Path) -> None:
    values = {2: 1.0, 4: 3.0, 6: 2.0, 8: 0.5}
    weights: dict[int, torch.Tensor] = {}

    def evaluate(encoder: object, step: int) -> dict[str, float]:
        weights[step] = next(iter(t.encoder.module.parameters())).detach().clone()
        return {"average": values[step]}

    r = with_evaluation(recipe(base, save_every=2, keep_checkpoints=2))
    t = trainer(r, tmp_path, evaluate=evaluate)
    t.train()
    assert [p.name for p in checkpoint.find_checkpoints(tmp_path)] == ["checkpoint-4", "checkpoint-8"]
    assert t.load_best() == 4
    assert torch.equal(next(iter(t.encoder.module.parameters())), weights[4])
    assert not torch.equal(weights[4], weights[8])


def test_early_stopping(base: Path, tmp_path: Path) -> None:
    t = trainer(
        with_evaluation(recipe(base, save_every=2), patience=2), tmp_path, evaluate=lambda e, step: {"average": -step}
    )
    t.train()
    assert t.state.global_step == 6


def test_evaluation_leaves_the_training_untouched(base: Path, tmp_path: Path) -> None:
    def evaluate(encoder: object, step: int) -> dict[str, float]:
        t.encoder.encode(["ba de fi", "go ku"])
        return {"average": 0.0}

    plain = trainer(recipe(base), tmp_path / "plain")
    plain.train()
    t = trainer(with_evaluation(recipe(base)), tmp_path / "evaluated", evaluate=evaluate)
    t.train()
    for (name, a), (_, b) in zip(plain.trainee.named_parameters(), t.trainee.named_parameters(), strict=True):
        assert torch.equal(a, b), name
