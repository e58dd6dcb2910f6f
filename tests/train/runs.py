"""Small real runs: a tiny BERT, rows in the recipe, the real trainer. Also the worker that tests kill and stop."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import TrainerCallback

from embedkit.data.sources import load_source
from embedkit.disk import files
from embedkit.model.running.encoder import Encoder
from embedkit.recipe.schema import Recipe
from embedkit.run.build import build_trainer
from embedkit.train.distributed import Comm
from embedkit.train.stopping import Stopping
from embedkit.train.trainer import Trainer
from tests.device import DEVICE, fixed_order
from tests.tiny import sentences


def recipe(base: Path, **train: Any) -> Recipe:
    """Two sources with their own objectives, dropout on, a learned temperature, accumulation."""
    texts = sentences(64, seed=1)
    pairs = [{"query": a, "positive": b} for a, b in zip(texts[:40:2], texts[1:40:2], strict=True)]
    scored = [
        {"query": a, "positive": b, "score": i / 10} for i, (a, b) in enumerate(zip(texts, texts[20:34], strict=False))
    ]
    return Recipe.model_validate(
        {
            "model": {"base": str(base), "max_length": 24, "head": {"keep": False}},
            "data": {
                "sources": [
                    {"name": "pairs", "rows": pairs, "weight": 2.0},
                    {"name": "scored", "rows": scored, "weight": 1.0, "objective": "cosent"},
                ]
            },
            "objective": {"name": "infonce", "learn_temperature": True},
            "train": {
                "batch_size": 8,
                "accumulation": 2,
                "steps": 8,
                "save_every": 4,
                "keep_checkpoints": 9,
                "learning_rate": 1e-3,
                "weight_decay": 0.01,
                "warmup": 0.25,
                "log_every": 1,
                "device": DEVICE,
                **train,
            },
        }
    )


def trainer(recipe: Recipe, folder: Path, comm: Comm | None = None, **options: Any) -> Trainer:
    encoder = Encoder.load(recipe.model, device=DEVICE, seed=recipe.train.seed)
    sources = [load_source(source) for source in recipe.data.sources]
    return build_trainer(recipe, sources, encoder, folder, comm or Comm(), **options)


def state(t: Trainer) -> dict[str, torch.Tensor]:
    """Everything that training changes: encoder, head, objectives, optimiser moments."""
    found = {n: v.clone() for n, v in t.trainee.state_dict().items()}
    for i, moments in enumerate(t.optimizer.state_dict()["state"].values()):
        found |= {f"optimizer.{i}.{n}": torch.as_tensor(v).clone() for n, v in moments.items()}
    return found


class KillAt(TrainerCallback):
    """SIGKILL in the middle of update `step`: after its gradients, before the optimiser."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self.step:
            os.kill(os.getpid(), signal.SIGKILL)


def kill_in_save(at: int) -> None:
    """SIGKILL while checkpoint `at` is written: all files are there, the name is not."""
    publish = files.publish

    def killing(staging: Path, final: Path) -> None:
        if final.name == f"checkpoint-{at}":
            (staging / "optimizer.pt").write_bytes(b"half")
            os.kill(os.getpid(), signal.SIGKILL)
        publish(staging, final)

    files.publish = killing


class SignalAt(TrainerCallback):
    """A signal to this process in the middle of update `step`."""

    def __init__(self, step: int, number: int, times: int = 1) -> None:
        self.step, self.number, self.times = step, number, times

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        for _ in range(self.times if state.global_step == self.step else 0):
            os.kill(os.getpid(), self.number)


def suite(every: int = 2, **options: Any) -> dict[str, Any]:
    """An `eval` block for `scores`."""
    task = {"type": "sts", "name": "x", "files": ["unused.tsv"]}
    return {"suite": {"tasks": [task]}, "every": every, "select": "average", **options}


def scores(encoder: Encoder, step: int) -> dict[str, float]:
    """A number that the model as it is gives, cheap and different at every update."""
    return {"average": float(np.abs(encoder.encode(["ba de fi", "go ku la me"])).sum())}


def main(base: Path, folder: Path, what: str) -> None:
    """The worker that the tests kill and stop; `what` says how."""
    torch.set_num_threads(1)
    if what == "save":
        kill_in_save(at=8)
    if what in ("step", "save"):
        trainer(recipe(base), folder, callbacks=[KillAt(6)] if what == "step" else []).train()
        return
    name, _, where = what.partition("@")
    number, evaluated = getattr(signal, name.rstrip("2")), where.startswith("evaluation")
    step = int(where.removeprefix("evaluation"))

    def evaluate(encoder: Encoder, update: int) -> dict[str, float]:
        if evaluated and update == step:
            os.kill(os.getpid(), number)
        return scores(encoder, update)

    made = recipe(base, save_every=None, log_every=3)
    made = Recipe.model_validate({**made.model_dump(), "eval": suite(every=2)})
    signals = [] if evaluated else [SignalAt(step, number, 2 if name.endswith("2") else 1)]
    with Stopping() as stopping:
        run = trainer(made, folder, callbacks=signals, evaluate=evaluate, stopping=stopping)
        with stopping.later():
            run.train()
        sys.exit(3 if run.flow.stopped else 0)


if __name__ == "__main__":
    with fixed_order():
        main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
