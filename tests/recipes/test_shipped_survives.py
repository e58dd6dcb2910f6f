"""Every shipped recipe as a user runs it: stopped and resumed, and in two processes. Minutes: `make test-slow`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from embedkit.recipe.load import dump
from embedkit.recipe.schema import Recipe
from tests.recipes.test_shipped import SINGLE, runnable, tiny_base
from tests.workers import PATIENCE

pytestmark = pytest.mark.slow
STEPS = 4


def shortened(name: str, folder: Path) -> Recipe:
    recipe = runnable(name, folder, tiny_base(name, folder / "base"))
    train = recipe.train.model_copy(update={"steps": STEPS, "save_every": 2, "keep_checkpoints": 9})
    evaluation = recipe.eval.model_copy(update={"before": False, "every": None})
    return recipe.model_copy(update={"train": train, "eval": evaluation})


def run(recipe: Recipe, out: Path, *, resume: bool = False) -> list[float]:
    from embedkit.run import train

    record = train(recipe, out, resume=resume, say=lambda line: None, progress=False)
    return [entry["loss"] for entry in record.curve]


@pytest.mark.parametrize("name", SINGLE)
def test_a_resumed_run_is_the_same_run(name: str, tmp_path: Path) -> None:
    recipe, whole, stopped = shortened(name, tmp_path), tmp_path / "whole", tmp_path / "stopped"
    losses = run(recipe, whole)
    assert len(losses) == STEPS
    shutil.copytree(whole, stopped)
    shutil.rmtree(stopped / "checkpoints" / f"checkpoint-{STEPS}")
    shutil.rmtree(stopped / "model")
    assert run(recipe, stopped, resume=True) == losses
    last = Path("checkpoints") / f"checkpoint-{STEPS}"
    files = sorted(path.relative_to(whole) for path in (whole / last).rglob("*.safetensors"))
    assert files
    for file in files:
        want, got = load_file(whole / file), load_file(stopped / file)
        assert want.keys() == got.keys() and all(bool((want[k] == got[k]).all()) for k in want), file


@pytest.mark.dist
@pytest.mark.parametrize("name", SINGLE)
def test_two_processes_train_it(name: str, tmp_path: Path) -> None:
    path, out = tmp_path / "recipe.yaml", tmp_path / "run"
    path.write_text(dump(shortened(name, tmp_path)), encoding="utf-8")
    command = [sys.executable, "-m", "embedkit", "train", str(path), "--out", str(out), "--nproc", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    record = json.loads((out / "run.json").read_text(encoding="utf-8"))
    assert record["finished"] and len(record["curve"]) == STEPS
    assert (out / "model" / "modules.json").is_file()
