"""Checkpoints that are whole or absent: written under a temporary name, then renamed.

A checkpoint is an ST folder (it loads with plain ``SentenceTransformer(path)``) with the trainer's optimiser,
scheduler, random states and counters, and an ``embedkit/`` folder with what ST does not know: the objective's
parameters and the train-only head.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_callback import TrainerState

from embedkit.disk import files
from embedkit.errors import EmbedkitError, TrainingError
from embedkit.model.checking.boundary import UNSAFE, is_unsafe, reason
from embedkit.model.checking.fit import listed
from embedkit.model.reading.loading import load_like
from embedkit.objectives.companions import Companion

if TYPE_CHECKING:
    from sentence_transformers.base.model import BaseModel

STAGING = ".saving-"
OPTIMIZER, SCHEDULER = "optimizer.pt", "scheduler.pt"
"""What transformers calls the files of a checkpoint."""
ANOTHER = "remove this checkpoint (an older one then goes on), or train into a new folder"
_STATE: dict[str, Any] = {
    "epoch": (int, float),
    "best_global_step": (int, NoneType),
    "best_metric": (int, float, NoneType),
    "log_history": list,
}
"""What is read of transformers' state, and what it is."""
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
    found = [p for p in folder.glob("checkpoint-*") if _NAME.search(p.name) and (p / TRAINER_STATE_NAME).is_file()]
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


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Reading a part of a checkpoint.

    Raises:
        TrainingError: it is damaged, or holds a pickle of more than tensors.
    """
    try:
        yield
    except EmbedkitError as error:
        raise TrainingError(error.what, str(path), ANOTHER) from error
    except Exception as error:  # torch, safetensors and json raise almost anything for a damaged file
        what = f"its files {UNSAFE}" if is_unsafe(error) else f"cannot be read: {reason(error)}"
        raise TrainingError(what, str(path), ANOTHER) from error


def read_state(path: Path) -> TrainerState:
    """The counters and the log of a checkpoint.

    Raises:
        TrainingError: they are damaged, or of another update than the name of the folder says.
    """
    file = path / TRAINER_STATE_NAME
    with reading(file):
        state = TrainerState.load_from_json(str(file))
        if type(state.global_step) is not int or state.global_step != step_of(path):
            raise ValueError(f"global_step is {state.global_step!r} in the checkpoint of update {step_of(path)}")
        for name, kinds in _STATE.items():
            if not isinstance(getattr(state, name), kinds):
                raise ValueError(f"{name} is {getattr(state, name)!r:.60}")
        if not all(isinstance(line, dict) for line in state.log_history):
            raise ValueError("log_history holds more than lines of the log")
    return state


def load_encoder(st: BaseModel, path: Path) -> None:
    """Read the weights of a checkpoint into the model that is trained.

    Raises:
        TrainingError: it is damaged, or of another model.
    """
    with reading(path):
        stored, wanted = load_like(st, path, "cpu").state_dict(), st.state_dict()
    _check_fit(stored, wanted, path)
    st.load_state_dict(stored)


def load_module(module: torch.nn.Module, path: Path) -> None:
    """Read back what `save_module` wrote.

    Raises:
        TrainingError: the file is missing, or its names or shapes do not fit the module. What grows from step to step
            (`embedkit.objectives.companions`) takes the shape that was written.
    """
    wanted = module.state_dict()
    if not wanted:
        return
    if not path.is_file():
        raise TrainingError("the checkpoint has no state for this module", str(path), "resume with the same recipe")
    with reading(path):
        state = load_file(path)
    for prefix, part in module.named_modules():
        if isinstance(part, Companion):
            part.like({k[len(prefix) + 1 :]: v for k, v in state.items() if k.startswith(f"{prefix}.")})
    _check_fit(state, module.state_dict(), path)
    module.load_state_dict(state)


def _check_fit(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor], path: Path) -> None:
    """Names and shapes of what is stored must be those of what the recipe builds."""
    if state.keys() != wanted.keys():
        differ = sorted(state.keys() ^ wanted.keys())
        what = f"holds {len(state)} tensors and the recipe builds {len(wanted)}; in one of the two: {listed(differ)}"
        raise TrainingError(what, str(path), "resume with the recipe that wrote the checkpoint")
    for name, tensor in wanted.items():
        if state[name].shape != tensor.shape:
            what = f"holds {name} {list(state[name].shape)}, and the recipe builds {list(tensor.shape)}"
            raise TrainingError(what, str(path), "resume with the recipe that wrote the checkpoint")


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
