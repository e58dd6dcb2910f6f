"""The trainer around the step: guards, logs, evaluation, best checkpoint, early stopping."""

from __future__ import annotations

import json
import logging
import resource
import shutil
import sys
from pathlib import Path

import pytest
import torch
from transformers import TrainerCallback

from embedkit.errors import TrainingError, WriteError
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


def evaluated(base: Path, folder: Path, values: dict[int, float], train: dict, **options: object) -> tuple:
    """A trained trainer whose evaluations give `values`, and a parameter at each of them."""
    weights: dict[int, torch.Tensor] = {}

    def evaluate(encoder: object, step: int) -> dict[str, float]:
        weights[step] = next(iter(t.encoder.module.parameters())).detach().clone()
        return {"average": values[step]}

    t = trainer(with_evaluation(recipe(base, **train), **options), folder, evaluate=evaluate)
    t.train()
    assert weights.keys() == values.keys()
    return t, weights


@pytest.mark.parametrize(
    ("keep", "every", "save_every"),
    [(1, 2, 4), (2, 2, 4), (1, 1, 7), (2, 3, 2), (1, 5, None), (3, 3, 4), (2, 1, None), (1, 3, 1), (2, 9, 3)],
)
def test_the_result_is_the_model_of_the_best_evaluation(
    base: Path, tmp_path: Path, keep: int, every: int, save_every: int | None
) -> None:
    """Whatever the two clocks and the number of checkpoints are."""
    at = sorted({*range(every, 9, every), 8})
    best = at[len(at) // 3]
    values = {step: -abs(step - best) for step in at}
    t, weights = evaluated(base, tmp_path, values, {"save_every": save_every, "keep_checkpoints": keep}, every=every)
    assert t.load_best() == best
    assert torch.equal(next(iter(t.encoder.module.parameters())), weights[best])
    found = [checkpoint.step_of(p) for p in checkpoint.find_checkpoints(tmp_path)]
    assert {best, 8} <= set(found) and len(found) <= max(keep, len({best, 8}))


def test_the_first_of_equals_is_the_best(base: Path, tmp_path: Path) -> None:
    t, _ = evaluated(base, tmp_path, {2: 1.0, 4: 3.0, 6: 3.0, 8: 0.5}, {"save_every": 8})
    assert t.load_best() == 4


def test_the_best_is_found_in_a_folder_that_was_moved(base: Path, tmp_path: Path) -> None:
    values = {2: 1.0, 4: 3.0, 6: 2.0, 8: 0.5}
    _, weights = evaluated(base, tmp_path / "here", values, {"save_every": 6})
    shutil.rmtree(tmp_path / "here" / "checkpoint-8")
    (tmp_path / "here").rename(tmp_path / "there")
    r = with_evaluation(recipe(base, save_every=6))
    again = trainer(r, tmp_path / "there", evaluate=lambda e, step: {"average": values[step]})
    again.train(resume_from_checkpoint=str(tmp_path / "there" / "checkpoint-4"))
    assert again.load_best() == 4
    assert torch.equal(next(iter(again.encoder.module.parameters())), weights[4])


def test_a_best_checkpoint_that_is_gone_is_missed_before_training(base: Path, tmp_path: Path) -> None:
    values = {2: 1.0, 4: 3.0, 6: 2.0, 8: 0.5}
    evaluated(base, tmp_path, values, {"save_every": 6})
    shutil.rmtree(tmp_path / "checkpoint-4")
    r = with_evaluation(recipe(base, save_every=6))
    again = trainer(r, tmp_path, evaluate=lambda e, step: {"average": values[step]})
    with pytest.raises(TrainingError, match="best evaluation so far is gone: checkpoint-4"):
        again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-8"))


def test_without_an_evaluation_there_is_no_best(base: Path, tmp_path: Path) -> None:
    t = trainer(recipe(base, steps=2), tmp_path)
    t.train()
    with pytest.raises(TrainingError, match="no evaluation chose"):
        t.load_best()


def test_keeping_the_last_saves_nothing_for_the_best(base: Path, tmp_path: Path) -> None:
    evaluated(base, tmp_path, {2: 3.0, 4: 1.0, 6: 2.0, 8: 0.5}, {"save_every": 3, "keep_checkpoints": 2}, keep="last")
    assert [p.name for p in checkpoint.find_checkpoints(tmp_path)] == ["checkpoint-6", "checkpoint-8"]


@pytest.mark.parametrize("keep", ["best", "last"])
@pytest.mark.parametrize("save_every", [2, 4, 7, None])
def test_early_stopping_leaves_a_checkpoint(base: Path, tmp_path: Path, keep: str, save_every: int | None) -> None:
    train = {"save_every": save_every}
    t, _ = evaluated(base, tmp_path, {2: 5.0, 4: 4.0, 6: 3.0}, train, patience=2, keep=keep)
    assert t.state.global_step == 6
    newest = checkpoint.find_checkpoints(tmp_path)[-1]
    assert checkpoint.step_of(newest) == 6
    again = trainer(with_evaluation(recipe(base, **train), patience=2, keep=keep), tmp_path, evaluate=lambda e, s: {})
    again.train(resume_from_checkpoint=str(newest))
    assert again.state.global_step == 6, "it had ended"
    if keep == "best":
        assert again.load_best() == 2


def test_patience_is_counted_over_an_interruption(base: Path, tmp_path: Path) -> None:
    values = {2: 5.0, 4: 4.0, 6: 3.0, 8: 2.0}
    r = with_evaluation(recipe(base, save_every=1, keep_checkpoints=9), patience=2)
    trainer(r, tmp_path, evaluate=lambda e, step: {"average": values[step]}).train()
    again = trainer(r, tmp_path, evaluate=lambda e, step: {"average": values[step]})
    again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-5"))
    assert again.state.global_step == 6


def test_a_failing_evaluation_loses_no_update(base: Path, tmp_path: Path) -> None:
    def fail(encoder: object, step: int) -> dict[str, float]:
        if step == 6:
            raise OSError("gone")
        return {"average": float(step)}

    r = with_evaluation(recipe(base, save_every=None))
    with pytest.raises(OSError, match="gone"):
        trainer(r, tmp_path, evaluate=fail).train()
    newest = checkpoint.find_checkpoints(tmp_path)[-1]
    assert checkpoint.step_of(newest) == 6
    with pytest.raises(OSError, match="gone"):  # still: said before anything is trained
        trainer(r, tmp_path, evaluate=fail).train(resume_from_checkpoint=str(newest))
    again = trainer(r, tmp_path, evaluate=lambda e, step: {"average": float(step)})
    again.train(resume_from_checkpoint=str(newest))
    assert [h["step"] for h in again.state.log_history if "eval_average" in h] == [2, 4, 6, 8]
    assert again.load_best() == 8


def test_the_models_configuration_stays_what_it_was(base: Path, tmp_path: Path) -> None:
    """Also where the tokenizer says otherwise: a model may end its texts with several tokens."""
    t = trainer(recipe(base, steps=2), tmp_path)
    config = t.encoder.st[0].config
    config.pad_token_id, config.eos_token_id = 7, [3, 5]
    assert t.encoder.st.tokenizer.pad_token_id != 7
    before = config.to_dict()
    t.train()
    assert config.to_dict() == before


def test_every_update_is_in_a_logged_line(base: Path, tmp_path: Path) -> None:
    """Lines at 1 and 5 (log_every), 4 (checkpoint), 6 (evaluation) and 8 (the end) hold the tokens of all 8."""
    one_each, _ = evaluated(base, tmp_path / "a", {6: 1.0, 8: 1.0}, {"log_every": 1}, every=6)
    few, _ = evaluated(base, tmp_path / "b", {6: 1.0, 8: 1.0}, {"log_every": 5, "save_every": 4}, every=6)
    logged = [[h for h in t.state.log_history if "loss" in h] for t in (one_each, few)]
    assert [h["step"] for h in logged[1]] == [1, 4, 5, 6, 8]
    assert sum(h["tokens"] for h in logged[0]) == sum(h["tokens"] for h in logged[1])
    assert all(a["elapsed"] < b["elapsed"] for a, b in zip(logged[1], logged[1][1:], strict=False))


@pytest.mark.skipif(sys.platform == "win32", reason="limits of POSIX")
def test_a_full_disk_leaves_the_older_checkpoints(base: Path, tmp_path: Path) -> None:
    """The limit stands for it: the write of a library fails in its middle."""

    class FullAfter(TrainerCallback):
        def on_step_end(self, args: object, state: object, control: object, **kwargs: object) -> None:
            if state.global_step == 5:
                resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        with pytest.raises(WriteError) as caught:
            trainer(recipe(base, save_every=4), tmp_path, callbacks=[FullAfter()]).train()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "the checkpoint of update 8 could not be written" in caught.value.what
    assert caught.value.cure.endswith("checkpoint-4 is whole: go on from it with --resume")
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint-4"]
    again = trainer(recipe(base, save_every=4), tmp_path)
    again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-4"))
    assert again.state.global_step == 8


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
