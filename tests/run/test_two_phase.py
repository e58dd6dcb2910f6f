"""The shipped recipe of two phases: no contrast in the first, and a run cut in either goes on bit for bit."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file
from transformers import TrainerCallback

from embedkit.recipe.load import LoadedStages, load_any
from embedkit.recipe.stages import Staged
from embedkit.run import single as module
from embedkit.run import train
from embedkit.types import RunRecord, StepResult
from tests.auxiliary.models import tiny_masked_lm
from tests.tiny import sentences, tiny_bert
from tests.train.runs import trainer


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phases")
    tiny_bert(folder / "base")
    tiny_masked_lm(folder / "generator", "distilbert", seed=1)
    (folder / "sentences.txt").write_text("\n".join(sentences(40, seed=6)) + "\n", encoding="utf-8")
    return folder


def staged(folder: Path) -> Staged:
    short = ["train.batch_size=8", "train.steps=4", "train.save_every=2", "train.log_every=1", "train.device=cpu"]
    places = [f"data.sources.0.path={folder / 'sentences.txt'}", f"auxiliary.0.generator={folder / 'generator'}"]
    found = load_any("unsup/two-phase", [f"model.base={folder / 'base'}", *places, *short, "eval.suite=null"])
    assert isinstance(found, LoadedStages)
    return found.staged


def one_batch(folder: Path, out: Path, number: int) -> tuple[StepResult, float, bool]:
    """The first batch of a phase: its result, the detection's share of the loss, whether the encoder got a gradient."""
    recipe = staged(folder).steps[number].recipe
    made = trainer(recipe, out)
    result = made.engine(made.pipeline.batch(0, 0))
    moved = any(p.grad is not None and bool(p.grad.any()) for p in made.encoder.st.parameters())
    return result, recipe.auxiliary[0].weight * result.metrics["replaced_tokens_loss"], moved


def test_the_first_phase_has_no_contrast(world: Path, tmp_path: Path) -> None:
    result, detection, moved = one_batch(world, tmp_path, 0)
    assert result.loss == detection > 0 and moved
    assert "positive_similarity" not in result.metrics


def test_the_second_phase_adds_it(world: Path, tmp_path: Path) -> None:
    result, detection, moved = one_batch(world, tmp_path, 1)
    assert result.loss > 1.5 * detection > 0 and moved
    assert "positive_similarity" in result.metrics


def go(folder: Path, out: Path, resume: bool = False) -> RunRecord:
    return train(staged(folder), out, resume=resume, say=lambda line: None, progress=False)


def weights(folder: Path) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = load_file(folder / "model" / "model.safetensors")
    return found


class CutAt(TrainerCallback):
    def __init__(self, update: int) -> None:
        self.update = update

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self.update:
            raise KeyboardInterrupt


@pytest.mark.slow
@pytest.mark.parametrize(("phase", "update"), [("1-detect", 3), ("2-contrast", 0), ("2-contrast", 3)])
def test_a_run_that_was_cut_goes_on_bit_for_bit(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, phase: str, update: int
) -> None:
    """Cut in a phase after its checkpoint, or at the switch: the last weights are those of the run that was not."""
    if not (world / "whole" / "model").exists():
        record = go(world, world / "whole")
        assert [(s["name"], s["updates"]) for s in record.stages] == [("detect", 4), ("contrast", 4)]
    fit = module.fit.fit

    def cutting(run: Any, trainer: Any, *rest: Any) -> None:
        if run.folder.root.name == phase:
            trainer.add_callback(CutAt(update))
        fit(run, trainer, *rest)

    monkeypatch.setattr(module.fit, "fit", cutting)
    with pytest.raises(KeyboardInterrupt):
        go(world, tmp_path / "cut")
    monkeypatch.undo()
    assert not (tmp_path / "cut" / "model").exists()
    go(world, tmp_path / "cut", resume=True)
    for stage in ("stages/1-detect", "."):
        whole, cut = weights(world / "whole" / stage), weights(tmp_path / "cut" / stage)
        assert whole.keys() == cut.keys() and all(np.array_equal(whole[n], cut[n]) for n in whole)
    assert any(not np.array_equal(v, whole[n]) for n, v in weights(world / "whole" / "stages/1-detect").items())
    shutil.rmtree(tmp_path / "cut")
