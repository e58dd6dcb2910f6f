"""The rate of a run: what is measured is right, and the run that follows is bit by bit the one without it."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from embedkit.recipe.schema import Recipe
from embedkit.train import rate
from embedkit.train.trainer import Trainer
from tests.tiny import tiny_bert
from tests.train.runs import recipe, trainer


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bert(tmp_path_factory.mktemp("base"))


def variant(base: Path, **blocks: Any) -> Recipe:
    made = recipe(base, steps=4, save_every=4, **blocks.pop("train", {}))
    return Recipe.model_validate({**made.model_dump(), **blocks})


def result(trained: Trainer) -> tuple[list[torch.Tensor], list[float]]:
    state = [*trained.trainee.parameters(), *trained.trainee.buffers()]
    return [t.detach().clone() for t in state], [h["loss"] for h in trained.state.log_history if "loss" in h]


@pytest.mark.parametrize(
    "blocks",
    [
        {},
        {"train": {"graph": "reforward", "tokens_per_micro_batch": 48}},
        pytest.param({"heads": [{"name": "batch_norm_projector"}]}, marks=pytest.mark.slow),
        pytest.param({"auxiliary": [{"name": "mlm"}]}, marks=pytest.mark.slow),
        pytest.param(
            {"guide": {"model": "BASE"}, "objective": {"name": "infonce", "guide": "absolute"}}, marks=pytest.mark.slow
        ),
    ],
    ids=["plain", "reforward", "batch-norm", "mlm", "guide"],
)
def test_a_measured_run_is_the_run_without_measuring(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, blocks: dict[str, Any]
) -> None:
    monkeypatch.setattr(rate, "QUICK", 0.0)
    if "guide" in blocks:
        blocks = {**blocks, "guide": {"model": str(base)}}
    found = []
    for name in ("plain", "measured"):
        torch.manual_seed(3)
        made = trainer(variant(base, **dict(blocks)), tmp_path / name)
        if name == "measured":
            measured = rate.measure(made, 4)
            assert measured is not None and measured.seconds > 0 and measured.batches == rate.BATCHES
        made.train()
        found.append(result(made))
    (weights, losses), (after, losses_after) = found
    assert losses == losses_after and len(losses) == 4
    assert all(torch.equal(a, b) for a, b in zip(weights, after, strict=True))


def test_nothing_of_the_trainer_and_of_chance_is_changed(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rate, "QUICK", 0.0)
    made = trainer(variant(base, heads=[{"name": "batch_norm_projector"}]), tmp_path)
    made.trainee.eval()
    made.trainee.heads.train()
    modes = [m.training for m in made.trainee.modules()]
    before = [t.detach().clone() for t in (*made.trainee.parameters(), *made.trainee.buffers())]
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    rate.measure(made, 4)
    assert all(
        torch.equal(a, b) for a, b in zip(before, (*made.trainee.parameters(), *made.trainee.buffers()), strict=True)
    )
    assert all(p.grad is None for p in made.trainee.parameters())
    assert [m.training for m in made.trainee.modules()] == modes
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (random.getstate(), np.random.get_state()[1].tolist()) == states[1:]
    assert made.optimizer is None


class Clock:
    """Time that only stands still or is moved."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(rate.time, "perf_counter", lambda: self.now)
        monkeypatch.setattr(rate, "_optimiser_seconds", lambda trainer: 0.25)

    def takes(self, owner: Any, name: str, seconds: Any, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
        """Calls of a function take `seconds(*args)`; gives the arguments of the calls."""
        inner, calls = getattr(owner, name), []

        def call(*args: Any, **kwargs: Any) -> Any:
            self.now += seconds(*args)
            calls.append(args)
            return inner(*args, **kwargs)

        monkeypatch.setattr(owner, name, call)
        return calls


def test_an_update_is_its_batches_with_their_data_and_the_optimiser(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    made = trainer(variant(base), tmp_path)  # accumulation 2
    asked = clock.takes(made.pipeline, "batch", lambda step, k: 0.5, monkeypatch)
    monkeypatch.setattr(made, "engine", Slow(made.engine, clock))
    monkeypatch.setattr(rate, "QUICK", -1.0)
    assert rate.measure(made, 4) == rate.Rate(2 * (0.5 + 2.0) + 0.25, 2)  # two batches give more than ENOUGH seconds
    assert [step for step, _ in asked] == [0, 0, 2]


class Slow:
    """The engine, each batch taking two seconds."""

    def __init__(self, engine: Any, clock: Clock) -> None:
        self.engine, self.clock = engine, clock

    def __call__(self, batch: Any) -> Any:
        self.clock.now += 2.0
        return self.engine(batch)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.engine, name)


def test_a_long_batch_is_measured_by_its_micro_batches(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    made = trainer(variant(base, train={"tokens_per_micro_batch": 32, "accumulation": 1}), tmp_path)
    monkeypatch.setattr(made.engine, "keep_graph", lambda batch: True)
    embed = made.encoder.embed

    def tokens(features: dict[str, torch.Tensor]) -> float:
        real = features.get("attention_mask")
        return float(features["input_ids"].numel() if real is None else real.sum())

    def slow(features: dict[str, torch.Tensor]) -> torch.Tensor:
        clock.now += tokens(features) / 4
        return embed(features)

    monkeypatch.setattr(made.encoder, "embed", slow)
    monkeypatch.setattr(type(made.engine), "__call__", None)  # the whole batch is not run
    batches = [made.pipeline.batch(step, 0) for step in (0, 2, 3)]
    passes = clock.takes(rate, "_pass", lambda *args: 0.0, monkeypatch)
    measured = rate.measure(made, 4)
    assert len(passes) == 3  # two of them to warm up
    assert measured is not None and measured.batches == 1
    assert measured.seconds == pytest.approx(batches[0].tokens / 4 + 0.25)


def test_a_run_of_seconds_has_no_rate(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Clock(monkeypatch)
    made = trainer(variant(base), tmp_path)
    monkeypatch.setattr(type(made.engine), "__call__", None)
    assert rate.measure(made, 4) is None
