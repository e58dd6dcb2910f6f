"""Seconds per update, each method in turn with plain SimCSE in one process."""

from __future__ import annotations

import json
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.compare.runs import recipe
from benchmarks.compare.study import Study
from benchmarks.compare.table import Method
from benchmarks.sides import StepTimes
from embedkit.disk.folders import RunFolder
from embedkit.model.running.encoder import Encoder
from embedkit.recipe.schema import Recipe
from embedkit.run.build import build_trainer
from embedkit.run.data import load_sources
from embedkit.train.distributed import Comm

WARM = 2
"""Updates before the clock counts."""


def measure(study: Study, method: Method, reference: Method, seed: int, steps: int, rounds: int) -> dict[str, Any]:
    """Median seconds per update of `method` and of `reference`, their updates in alternating rounds.

    Args:
        study: the comparison.
        method, reference: the two sides.
        seed: of both.
        steps: timed updates per round and side.
        rounds: how often the two take turns.
    """
    folder = study.work / method.name
    path = folder / "timing.json"
    setting = {"steps": steps, "rounds": rounds, "batch": study.batch, "threads": torch.get_num_threads()}
    if path.is_file():
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if found["setting"] == setting:
            return found
    sides = {"method": prepare(study, method, seed, steps), "reference": prepare(study, reference, seed, steps)}
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for round_ in range(rounds):
        for name in list(sides)[:: 1 if round_ % 2 else -1]:  # neither side is always the first of a round
            seconds[name] += sides[name]()
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    found = {**medians, "ratio": medians["method"] / medians["reference"], "setting": setting}
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return found


def prepare(study: Study, method: Method, seed: int, steps: int) -> Callable[[], list[float]]:
    """A function that trains `method` for `steps` timed updates and returns their seconds."""
    count = steps + WARM + 1
    made = recipe(study, method, seed, sentences=count * study.batch)
    train = made.train.model_copy(update={"steps": count, "log_every": count, "save_every": None})
    made = made.model_copy(update={"train": train})
    with tempfile.TemporaryDirectory() as folder:
        sources = load_sources(made, RunFolder(Path(folder)), say=lambda line: None)
    return lambda: _updates(made, sources)


def _updates(made: Recipe, sources: list[Any]) -> list[float]:
    clock = StepTimes()
    encoder = Encoder.load(made.model, device=made.train.device, seed=made.train.seed)
    with tempfile.TemporaryDirectory() as folder:
        trainer = build_trainer(made, sources, encoder, Path(folder), Comm(), callbacks=[clock])
        trainer._save_checkpoint = lambda *args, **kwargs: None  # type: ignore[method-assign]
        trainer.train()
    return clock.seconds[WARM:]
