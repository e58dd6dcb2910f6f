"""Checkpoints that are damaged, lack a part or hold pickles of more than tensors are refused; nothing is trained."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from embedkit.errors import TrainingError
from tests.model import damaged
from tests.tiny import tiny_bert
from tests.train.runs import recipe, trainer


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bert(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def whole(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint after 4 of 8 updates."""
    folder = tmp_path_factory.mktemp("whole")
    trainer(recipe(base, steps=4), folder).train()
    return folder / "checkpoint-4"


def foreign(name: str) -> damaged.Damage:
    """The file holds what it held, and an object that runs code when it is unpickled."""

    def change(folder: Path) -> None:
        held = torch.load(folder / name, weights_only=False)
        torch.save({"held": held, "more": damaged.Foreign()}, folder / name)

    return change


def drop_one(folder: Path) -> None:
    path = folder / "embedkit" / "objective.safetensors"
    held = load_file(path)
    save_file({f"x.{k}": v for k, v in held.items()}, path)


DAMAGES: dict[str, tuple[damaged.Damage, tuple[str, ...]]] = {
    **{
        f"model, {name}": damaged.ALL[name]
        for name in ("weights are cut", "modules is null", "no tokenizer", "another prefix")
    },
    "pickled optimizer": (foreign("optimizer.pt"), ("hold more than tensors", "not loaded")),
    "pickled schedule": (foreign("scheduler.pt"), ("hold more than tensors", "not loaded")),
    "pickled random state": (foreign("rng_state.pth"), ("hold more than tensors", "not loaded")),
    "cut optimizer": (damaged.cut("optimizer.pt", 500), ("cannot be read",)),
    "empty optimizer": (damaged.text("optimizer.pt", ""), ("cannot be read",)),
    "no optimizer": (damaged.without("optimizer.pt"), ("there is no optimizer.pt",)),
    "no schedule": (damaged.without("scheduler.pt"), ("there is no scheduler.pt",)),
    "cut random state": (damaged.cut("rng_state.pth", 500), ("cannot be read",)),
    "state is null": (damaged.text("trainer_state.json", "null"), ("trainer_state.json", "cannot be read")),
    "state is cut": (damaged.cut("trainer_state.json", 50), ("trainer_state.json", "cannot be read")),
    "state of another update": (damaged.field("trainer_state.json", global_step=2), ("global_step is 2 in the check",)),
    "state of a text": (damaged.field("trainer_state.json", global_step="4"), ("global_step is '4'",)),
    "state of NaN": (damaged.field("trainer_state.json", global_step=float("nan")), ("global_step is nan",)),
    "best of a text": (damaged.field("trainer_state.json", best_global_step="2"), ("best_global_step is '2'",)),
    "a log of texts": (damaged.field("trainer_state.json", log_history=["x"]), ("more than lines of the log",)),
    "no log": (damaged.field("trainer_state.json", log_history=5), ("log_history is 5",)),
    "cut head": (damaged.cut("embedkit/head.safetensors", 100), ("head.safetensors", "cannot be read")),
    "pointer for a head": (damaged.text("embedkit/head.safetensors", damaged.POINTER), ("head.safetensors",)),
    "no objective": (damaged.without("embedkit/objective.safetensors"), ("objective.safetensors",)),
    "another objective": (drop_one, ("objective.safetensors", "in one of the two")),
    "layers less": (
        damaged.both(
            damaged.field("config.json", num_hidden_layers=1),
            damaged.tensors(lambda s: {k: v for k, v in s.items() if "layer.1." not in k}),
        ),
        ("holds 23 tensors and the recipe builds 39", "layer.1."),
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_resuming_refuses(
    name: str, base: Path, whole: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(whole, tmp_path / "checkpoint-4")
    change, words = DAMAGES[name]
    change(folder)
    resumed = trainer(recipe(base, steps=8), tmp_path / "run")
    resumed.recipe_yaml = ""  # another number of updates is another recipe
    with pytest.raises(TrainingError) as caught:
        resumed.train(resume_from_checkpoint=str(folder))
    message = str(caught.value)
    for word in (str(folder), *words):
        assert word in message
    assert "weights_only" not in message and "foreign code ran" not in capfd.readouterr().out
    assert resumed.state.global_step in (0, 4) and not (tmp_path / "run" / "checkpoint-8").exists()


def test_the_whole_one_is_taken(base: Path, whole: Path, tmp_path: Path) -> None:
    resumed = trainer(recipe(base, steps=8), tmp_path / "run")
    resumed.recipe_yaml = ""
    before = {n: v.clone() for n, v in resumed.trainee.state_dict().items()}
    resumed.train(resume_from_checkpoint=str(whole))
    assert resumed.state.global_step == 8
    assert any(not torch.equal(v, before[n]) for n, v in resumed.trainee.state_dict().items())
