"""Resuming is bit-exact: objective weights, head, sampler, optimiser and random state included."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from embedkit.errors import TrainingError
from embedkit.recipe.schema import Lora
from embedkit.train import checkpoint
from tests.device import DEVICE
from tests.tiny import tiny_bert
from tests.train.runs import recipe, state, trainer


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bert(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def whole(base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, torch.Tensor], Path, list[float]]:
    """State, folder and logged losses of a run of 8 updates without interruption."""
    folder = tmp_path_factory.mktemp("whole")
    t = trainer(recipe(base), folder)
    t.train()
    return state(t), folder, [h["loss"] for h in t.state.log_history if "loss" in h]


def assert_equal(got: dict[str, torch.Tensor], want: dict[str, torch.Tensor]) -> None:
    assert got.keys() == want.keys()
    different = [n for n in want if not torch.equal(got[n], want[n])]
    assert not different, f"{len(different)} of {len(want)} tensors differ, e.g. {different[:3]}"


def test_a_run_repeats_itself(base: Path, whole: tuple, tmp_path: Path) -> None:
    again = trainer(recipe(base), tmp_path)
    again.train()
    assert_equal(state(again), whole[0])


def test_training_changes_every_part(base: Path, whole: tuple, tmp_path: Path) -> None:
    before = {n: v.clone() for n, v in trainer(recipe(base), tmp_path).trainee.state_dict().items()}
    changed = {n for n, v in before.items() if not torch.equal(v, whole[0][n])}
    assert any(n.startswith("encoder.head") for n in changed)
    assert any(n.startswith("objectives.0") for n in changed)
    assert any("encoder.layer.1" in n for n in changed)


def test_eight_steps_are_four_and_four(base: Path, whole: tuple, tmp_path: Path) -> None:
    resumed = trainer(recipe(base), tmp_path)
    resumed.train(resume_from_checkpoint=str(whole[1] / "checkpoint-4"))
    assert resumed.state.global_step == 8
    assert_equal(state(resumed), whole[0])
    assert [h["loss"] for h in resumed.state.log_history if "loss" in h] == whole[2]


def test_a_resumed_epoch_goes_on_where_it_was(base: Path, tmp_path: Path) -> None:
    """With `accumulation` 1 an epoch of the recipe has three updates: 4 is inside the second."""
    whole = trainer(recipe(base, accumulation=1), tmp_path / "whole")
    assert whole.pipeline.sampler.batches_per_epoch == 3
    whole.train()
    resumed = trainer(recipe(base, accumulation=1), tmp_path / "resumed")
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-4"))
    assert_equal(state(resumed), state(whole))
    assert resumed.state.epoch == whole.state.epoch


@pytest.mark.parametrize(("what", "survives"), [("step", 4), pytest.param("save", 4, marks=pytest.mark.slow)])
def test_after_kill_nine(base: Path, whole: tuple, tmp_path: Path, what: str, survives: int) -> None:
    worker = subprocess.run([sys.executable, "-m", "tests.train.runs", str(base), str(tmp_path), what], check=False)
    assert worker.returncode == -9
    assert bool(list(tmp_path.glob(f"{checkpoint.STAGING}*"))) == (what == "save")
    checkpoint.discard_staging(tmp_path)
    newest = checkpoint.find_checkpoints(tmp_path)[-1]
    assert checkpoint.step_of(newest) == survives
    resumed = trainer(recipe(base), tmp_path)
    resumed.train(resume_from_checkpoint=str(newest))
    assert_equal(state(resumed), whole[0])
    assert checkpoint.step_of(checkpoint.find_checkpoints(tmp_path)[-1]) == 8


@pytest.mark.parametrize("steps", [3, 8])
def test_a_finished_run_resumes_to_what_it_is(base: Path, tmp_path: Path, steps: int) -> None:
    """Killed in its last evaluation, say; also where the last update is not the end of an epoch."""
    first = trainer(recipe(base, steps=steps, save_every=steps), tmp_path)
    first.train()
    again = trainer(recipe(base, steps=steps, save_every=steps), tmp_path)
    again.train(resume_from_checkpoint=str(tmp_path / f"checkpoint-{steps}"))
    assert_equal(again.trainee.state_dict(), first.trainee.state_dict())
    assert again.state.global_step == steps
    losses = [[h["loss"] for h in t.state.log_history if "loss" in h] for t in (first, again)]
    assert losses[0] == losses[1] and len(losses[0]) == steps


def test_checkpoint_loads_with_plain_sentence_transformers(whole: tuple) -> None:
    from sentence_transformers import SentenceTransformer

    st = SentenceTransformer(str(whole[1] / "checkpoint-8"), device=DEVICE)
    for name, value in st.state_dict().items():
        assert torch.equal(value, whole[0][f"encoder.st.{name}"]), name


def test_checkpoint_of_another_recipe_is_refused(base: Path, whole: tuple, tmp_path: Path) -> None:
    other = trainer(recipe(base, learning_rate=2e-3), tmp_path)
    with pytest.raises(TrainingError, match="another recipe"):
        other.train(resume_from_checkpoint=str(whole[1] / "checkpoint-4"))


def test_prune_keeps_the_newest_and_the_best(tmp_path: Path) -> None:
    for step in (2, 4, 6, 8):
        (tmp_path / f"checkpoint-{step}").mkdir()
        (tmp_path / f"checkpoint-{step}" / "trainer_state.json").write_text("{}")
    checkpoint.prune(tmp_path, 2, tmp_path / "checkpoint-4")
    assert [p.name for p in checkpoint.find_checkpoints(tmp_path)] == ["checkpoint-4", "checkpoint-8"]


def test_lora_resumes_and_its_checkpoint_is_plain(base: Path, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    adapted = recipe(base, steps=4, save_every=2)
    adapted = adapted.model_copy(update={"model": adapted.model.model_copy(update={"lora": Lora(r=4, alpha=8)})})
    whole = trainer(adapted, tmp_path / "whole")
    start = {n: v.clone() for n, v in whole.trainee.state_dict().items()}
    whole.train()
    moved = [n for n, v in whole.trainee.state_dict().items() if not torch.equal(v, start[n])]
    assert moved and all("lora" in n or "head" in n or "objectives" in n for n in moved)
    resumed = trainer(adapted, tmp_path / "resumed")
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-2"))
    assert_equal(state(resumed), state(whole))
    plain = SentenceTransformer(str(tmp_path / "whole" / "checkpoint-4"), device=DEVICE)
    assert not any("lora" in n for n in plain.state_dict())
    np.testing.assert_allclose(plain.encode(["ba de fi"]), whole.encoder.encode(["ba de fi"]), atol=1e-5)
