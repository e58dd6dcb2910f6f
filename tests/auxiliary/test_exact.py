"""Processes x micro-batches x accumulation x re-forward never change the gradient, auxiliaries included."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from embedkit.recipe import registry
from embedkit.train.distributed import Comm
from tests.auxiliary.cases import CASES, FEW, LAYOUTS, Layout, oracle, run
from tests.contract.answers import Answer, assert_same
from tests.workers import run_two

RELATIVE = 1e-9


@pytest.fixture(scope="module")
def oracles(folder: Path) -> dict[tuple[str, int], Answer]:
    return {(case, k): oracle(case, k, folder / "base", folder / "generator") for case in CASES for k in (1, 2)}


def test_every_registered_auxiliary_has_a_case() -> None:
    assert {case.name for case in CASES.values()} == set(registry.names("auxiliary"))


@pytest.mark.parametrize("name", CASES)
def test_the_gradient_reaches_encoder_and_auxiliary(name: str, oracles: dict[tuple[str, int], Answer]) -> None:
    answer = oracles[name, 1]
    parts = ("encoder.",) if name == "grace" else ("encoder.", "auxiliary.")  # whose head is the encoder's
    for part in parts:
        assert max(float(t.abs().max()) for n, t in answer.items() if n.startswith(part)) > 1e-6, part


@pytest.mark.parametrize("layouts", [FEW, pytest.param(LAYOUTS, marks=pytest.mark.slow)], ids=["few", "all"])
@pytest.mark.parametrize("name", CASES)
def test_one_process(name: str, layouts: list[Layout], oracles: dict[tuple[str, int], Answer], folder: Path) -> None:
    for layout in layouts:
        got = run(name, layout, Comm(), folder / "base", folder / "generator")
        assert_same(got, oracles[name, layout.accumulation], f"{name}, {layout}", RELATIVE)


@pytest.mark.cpu
@pytest.mark.dist
@pytest.mark.slow
def test_two_processes_with_unequal_micro_batches(
    oracles: dict[tuple[str, int], Answer], folder: Path, tmp_path: Path
) -> None:
    for name in ("base", "causal", "writer", "generator"):
        (tmp_path / name).symlink_to(folder / name)
    run_two("tests.auxiliary.worker", tmp_path)
    for rank in range(2):
        answers = torch.load(tmp_path / f"answers-{rank}.pt")
        assert {case for case, _ in answers} == set(CASES)
        for (case, layout), got in answers.items():
            accumulation = 2 if "accumulation=2" in layout else 1
            assert_same(got, oracles[case, accumulation], f"{case}, process {rank} of 2, {layout}", RELATIVE)
