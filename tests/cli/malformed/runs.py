"""What a run leaves: checkpoints to go on from, records to report; damaged in every part."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.cli.conftest import Done
from tests.cli.malformed.case import DATA, FAILED, Case, Spoil
from tests.cli.malformed.ground import TRAIN
from tests.model import damaged

NEEDS = ("cut", "run.yaml", "text.txt", "suite.yaml", "sts.tsv")
RESUME = (*TRAIN[:2], "--out", "cut", "--offline", "--resume")
HELD = "cut/checkpoints/checkpoint-2"
REPORT = ("report", "run")


def _pickle(name: str, value: Any) -> Spoil:
    return lambda folder: torch.save(value, folder / HELD / name)


def _here(damage: damaged.Damage) -> Spoil:
    return lambda folder: damage(folder / HELD)


CHECKPOINT: dict[str, Spoil] = {
    **{
        f"{file} {what}": _here(damage(file))
        for file in ("optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json", "model.safetensors")
        for what, damage in (
            ("is empty", lambda name: damaged.text(name, "")),
            ("is cut", lambda name: damaged.cut(name, 60)),
            ("is a pointer", lambda name: damaged.text(name, damaged.POINTER)),
        )
    },
    "optimizer.pt is not there": _here(damaged.without("optimizer.pt")),
    "optimizer.pt is a folder": _here(damaged.folder("optimizer.pt")),
    "optimizer.pt is a number": _pickle("optimizer.pt", 7),
    "optimizer.pt is of nothing": _pickle("optimizer.pt", {}),
    "optimizer.pt holds code": _pickle("optimizer.pt", {"state": damaged.Foreign()}),
    "scheduler.pt is a list": _pickle("scheduler.pt", [1]),
    "scheduler.pt is not there": _here(damaged.without("scheduler.pt")),
    "rng_state.pth is of nothing": _pickle("rng_state.pth", {}),
    "config.json is null": _here(damaged.text("config.json", "null")),
    "no tokenizer": _here(damaged.without("tokenizer.json")),
    "the objective is cut": _here(damaged.cut("embedkit/objective.safetensors", 20)),
    "the objective is not there": _here(damaged.without("embedkit/objective.safetensors")),
    "the objective is another": _here(
        lambda folder: damaged.data("embedkit/objective.safetensors", _scalar("other"))(folder)
    ),
    "the state is a list": _here(damaged.text("trainer_state.json", "[1]")),
    "the state is of another step": _here(damaged.field("trainer_state.json", global_step="two")),
    "the state is of NaN": _here(damaged.field("trainer_state.json", global_step=float("nan"))),
    "the state is 20,000 brackets": _here(damaged.text("trainer_state.json", "[" * 20_000)),
    "the recipe is of another run": _here(damaged.text("embedkit/recipe.yaml", "train: {seed: 1}\n")),
    "the recipe is no YAML": _here(damaged.text("embedkit/recipe.yaml", "a: [\n")),
    "the recipe is no UTF-8": _here(damaged.data("embedkit/recipe.yaml", b"a: \xff\n")),
    "the recipe is 20,000 brackets": _here(damaged.text("embedkit/recipe.yaml", "[" * 20_000)),
}


def _scalar(name: str) -> bytes:
    from safetensors.numpy import save

    content: bytes = save({name: np.zeros((), np.float32)})
    return content


Change = Callable[[dict[str, Any]], Any]


def _record(change: Change) -> Spoil:
    """The run's record says something else."""

    def spoil(folder: Path) -> None:
        path = folder / "run" / "run.json"
        found = json.loads(path.read_text(encoding="utf-8"))
        path.write_text(json.dumps(change(found) or found), encoding="utf-8")

    return spoil


def _set(**values: Any) -> Change:
    return lambda found: found.update(values)


RECORDS: dict[str, Spoil] = {
    "empty": damaged.text("run/run.json", ""),
    "blanks": damaged.text("run/run.json", "\n \n"),
    "cut": damaged.cut("run/run.json", 300),
    "no UTF-8": damaged.data("run/run.json", b'{"recipe": "\xff"}'),
    "a list": damaged.text("run/run.json", "[1]"),
    "null": damaged.text("run/run.json", "null"),
    "of another program": damaged.text("run/run.json", '{"a": 1}'),
    "20,000 brackets": damaged.text("run/run.json", "[" * 20_000),
    "of a newer version": _record(_set(format=99)),
    "with a key of a newer version": _record(_set(colour="blue")),
    "without its recipe": _record(lambda found: {k: v for k, v in found.items() if k != "recipe"}),
    "a recipe that is a list": _record(_set(recipe=[1])),
    "a model that is null": _record(lambda found: found["recipe"].update(model=None)),
    "a seed that is a text": _record(_set(seed="x")),
    "times that are texts": _record(_set(timings={"training": "long"})),
    "times that are NaN": _record(_set(timings={"training": float("nan")})),
    "a score that is NaN": _record(lambda found: found["scores_after"].update(average=float("nan"))),
    "energy without end": _record(_set(energy={"processor": float("inf"), "seconds": 1.0})),
    "a curve of texts": _record(_set(curve=["x"])),
    "scores without tasks": _record(lambda found: found["scores_after"].pop("tasks")),
    "scores that are a number": _record(_set(scores_after=5)),
    "a task without its metric": _record(lambda found: found["scores_after"]["tasks"][0].update(metrics={})),
    "an interval of one end": _record(_set(comparison=[{"task": "A", "difference": {"value": 1.0}}])),
    "energy that is a text": _record(_set(energy={"processor": "much"})),
    "is a folder": lambda folder: ((folder / "run/run.json").unlink(), (folder / "run/run.json").mkdir()),
    "is not there": damaged.without("run/run.json"),
}
SCORES: dict[str, Spoil] = {
    "cut": damaged.cut("run/eval/after/scores.json", 100),
    "null": damaged.text("run/eval/after/scores.json", "null"),
    "20,000 brackets": damaged.text("run/eval/after/scores.json", "[" * 20_000),
    "samples that are cut": damaged.cut("run/eval/after/samples.npz", 60),
    "samples of another run": damaged.data("run/eval/after/samples.npz", b"PK\x05\x06" + bytes(18)),
    "samples that are cut, and no hash": lambda folder: _without_hash(folder, 60),
    "samples that are none, and no hash": lambda folder: _without_hash(folder, 0),
}


def _without_hash(folder: Path, size: int) -> None:
    path = folder / "run/eval/after/scores.json"
    found = json.loads(path.read_text(encoding="utf-8"))
    found.pop("samples")
    path.write_text(json.dumps(found), encoding="utf-8")
    damaged.cut("run/eval/after/samples.npz", size)(folder)


def cases() -> Iterator[Case]:
    for name, spoil in CHECKPOINT.items():
        yield Case("checkpoint", name, spoil, RESUME, FAILED, NEEDS)
    yield Case("checkpoint", "as it was", lambda _: None, RESUME, 0, NEEDS, then=as_uncut)
    for name, spoil in {
        "a folder with another name": lambda folder: (folder / "cut/checkpoints/checkpoint-x").mkdir(),
        "an empty one that is newer": lambda folder: (folder / "cut/checkpoints/checkpoint-4").mkdir(),
        "no modules.json, which the recipe knows": _here(damaged.without("modules.json")),
        "what a kill left": lambda folder: (folder / "cut/checkpoints/.saving-4").mkdir(),
    }.items():
        yield Case("checkpoint", f"sound: {name}", spoil, RESUME, 0, NEEDS, then=as_uncut)
    for name, spoil in RECORDS.items():
        yield Case("record", name, spoil, REPORT, FAILED, ("run",))
    damages = {"brackets": b"[" * 20_000, "an open quote": b"rows: 'a", "no mapping": b"- rows: 1", "no UTF-8": b"\xff"}
    for name, content in damages.items():
        spoil = damaged.data("run/recipe.yaml", content)
        yield Case("record", f"its recipe: {name}", spoil, REPORT, 0, ("run",), then=reported)
    for name, spoil in SCORES.items():
        yield Case("record", f"scores: {name}", spoil, ("report", "run", "other"), DATA, ("run", "other"))


def reported(folder: Path, done: Done) -> None:
    """The report is there, with what went well."""
    text = (folder / "run" / "report" / "report.md").read_text(encoding="utf-8")
    assert "Did it help?" in text


def as_uncut(folder: Path, done: Done) -> None:
    """The weights are those of the run that was not cut off."""
    found, uncut = (_weights(root) for root in (folder / "cut", folder.parent / "ground" / "run"))
    assert found == uncut, "the weights are others"


def _weights(run: Path) -> str:
    return hashlib.sha256((run / "model" / "model.safetensors").read_bytes()).hexdigest()
