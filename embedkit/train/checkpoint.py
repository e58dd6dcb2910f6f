"""Checkpoints that are whole or absent: written under a temporary name, then renamed.

A checkpoint is an ST folder (it loads with plain ``SentenceTransformer(path)``) with the trainer's optimiser,
scheduler, random states and counters, and an ``embedkit/`` folder with what ST does not know: the objective's
parameters and the train-only head.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from embedkit import files
from embedkit.errors import TrainingError

STAGING = ".saving-"
_NAME = re.compile(r"checkpoint-(\d+)$")


def step_of(folder: Path) -> int:
    """The update after which a checkpoint was written."""
    match = _NAME.search(folder.name)
    if match is None:
        raise TrainingError(f"{folder} is not a checkpoint", cure="name a folder called checkpoint-<step>")
    return int(match.group(1))


def of_step(folder: Path, step: int) -> Path:
    """Where the checkpoint of an update stands."""
    return folder / f"checkpoint-{step}"


def find_checkpoints(folder: Path) -> list[Path]:
    """Complete checkpoints in a run's checkpoint folder, oldest first."""
    found = [p for p in folder.glob("checkpoint-*") if _NAME.search(p.name) and (p / "trainer_state.json").is_file()]
    return sorted(found, key=step_of)


def discard_staging(folder: Path) -> list[Path]:
    """Remove what a killed save left behind; returns the removed folders."""
    files.sweep(folder)
    stale = sorted(folder.glob(f"{STAGING}*"))
    for path in stale:
        shutil.rmtree(path)
    return stale


def staging_folder(folder: Path, step: int) -> Path:
    return folder / f"{STAGING}{step}"


def save_module(module: torch.nn.Module, path: Path) -> None:
    """Write a module's parameters and buffers as safetensors; nothing is written for a module without any."""
    state = {k: v.detach().cpu().contiguous().clone() for k, v in module.state_dict().items()}
    if state:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(state, path)


def load_module(module: torch.nn.Module, path: Path) -> None:
    """Read back what `save_module` wrote.

    Raises:
        TrainingError: the file is missing, or its names or shapes do not fit the module.
    """
    wanted = module.state_dict()
    if not wanted:
        return
    if not path.is_file():
        raise TrainingError("the checkpoint has no state for this module", str(path), "resume with the same recipe")
    state = load_file(path)
    if state.keys() != wanted.keys() or any(state[k].shape != wanted[k].shape for k in wanted):
        raise TrainingError(
            f"the checkpoint holds {sorted(state)}, the recipe builds {sorted(wanted)}",
            str(path),
            "resume with the recipe that wrote the checkpoint",
        )
    module.load_state_dict(state)


def prune(folder: Path, keep: int, best: Path | None) -> None:
    """Delete the oldest checkpoints beyond `keep`; the best one and the newest one always stay."""
    found = find_checkpoints(folder)
    stay = {found[-1]} if found else set()
    if best is not None:
        stay |= {p for p in found if p.resolve() == best.resolve()}
    for path in reversed(found):
        if len(stay) >= keep:
            break
        stay.add(path)
    for path in found:
        if path not in stay:
            shutil.rmtree(path)
