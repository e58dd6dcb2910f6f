"""New weights come from a seed; no random state, of the CPU or of a device, is another afterwards."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import create_autospec

import pytest
import torch

from embedkit.model.reading.seeding import RandomState, in_a_fixed_order, seeded
from embedkit.model.running.encoder import Encoder

PACKAGE = Path(__file__).resolve().parents[3] / "embedkit"
NEW = {
    "checkpoint": {},
    "from scratch": {"from_scratch": True},
    "head": {"head": {"keep": False}},
    "saved head": {"head": {"keep": True}},
    "lora": {"lora": {"r": 2}},
    "soft prompts": {"soft_prompts": {"length": 3}},
}


@pytest.fixture
def devices(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Seeds that the generators of GPUs are given; they are given to devices that are not there, too."""
    given: list[int] = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", given.append)
    return given


def test_the_fixture_sees_a_seed(devices: list[int]) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
    assert devices == [3]


def test_seeded(devices: list[int]) -> None:
    before = torch.get_rng_state()
    with seeded(7):
        first = torch.randn(5)
    with pytest.raises(ZeroDivisionError), seeded(7):
        again = torch.randn(5)
        1 / 0  # noqa: B018
    assert torch.equal(first, again)
    assert torch.equal(first, torch.randn(5, generator=torch.Generator().manual_seed(7)))
    assert torch.equal(torch.get_rng_state(), before) and not devices


@pytest.mark.parametrize("what", sorted(NEW))
def test_a_model_is_built(load: Callable[..., Encoder], devices: list[int], what: str) -> None:
    if what == "lora":
        pytest.importorskip("peft")
    before = torch.get_rng_state()
    one, two = load(seed=1, **NEW[what]), load(seed=1, **NEW[what])
    assert torch.equal(torch.get_rng_state(), before) and not devices
    assert all(torch.equal(a, b) for a, b in zip(one.module.parameters(), two.module.parameters(), strict=True))


def test_no_other_module_seeds_everything() -> None:
    """A run does once, at its start (`set_seed`)."""
    found = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if re.search(r"torch\.(random\.)?(manual_seed|fork_rng)\(|\bset_seed\(", path.read_text(encoding="utf-8"))
    }
    assert found == {"model/reading/seeding.py", "run/build.py"}


@pytest.mark.parametrize("kind", ["cuda", "mps"])
def test_the_state_of_a_device(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """torch's own signatures: CUDA's functions take the device, MPS's do not."""
    real: Any = getattr(torch, kind)
    state = torch.arange(4, dtype=torch.uint8)
    module = SimpleNamespace(
        get_rng_state=create_autospec(real.get_rng_state, return_value=state),
        set_rng_state=create_autospec(real.set_rng_state),
    )
    monkeypatch.setattr(torch, "get_device_module", lambda device: module)
    device = torch.device(kind, 0)
    before = RandomState(device)
    drawn = torch.rand(3)
    before.restore()
    assert torch.equal(torch.rand(3), drawn)
    which = (device,) if kind == "cuda" else ()
    module.get_rng_state.assert_called_once_with(*which)
    module.set_rng_state.assert_called_once_with(state, *which)


def test_what_is_drawn_inside_changes_nothing_after() -> None:
    import random

    import numpy as np

    from embedkit.model.reading.seeding import undrawn

    def draw() -> tuple[float, float, float]:
        return random.random(), float(np.random.rand()), float(torch.rand(()))

    random.seed(1), np.random.seed(1), torch.default_generator.manual_seed(1)
    wanted = draw()
    random.seed(1), np.random.seed(1), torch.default_generator.manual_seed(1)
    with undrawn():
        draw()
        torch.default_generator.manual_seed(9)
    assert draw() == wanted


def test_a_fixed_order_is_asked_for_and_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)

    def now() -> tuple[bool, ...]:
        warns = torch.is_deterministic_algorithms_warn_only_enabled()
        filled = torch.utils.deterministic.fill_uninitialized_memory
        return torch.are_deterministic_algorithms_enabled(), warns, filled

    before = now()
    with pytest.raises(ZeroDivisionError), in_a_fixed_order():
        assert now() == (True, True, False) and os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
        raise ZeroDivisionError
    assert now() == before
