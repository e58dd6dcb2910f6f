"""Processes x micro-batches x accumulation x re-forward never change the gradient, auxiliaries included."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from embedkit.recipe import registry
from embedkit.train.distributed import Comm
from tests.auxiliary.cases import CASES, LAYOUTS, oracle, run
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
    for part in ("encoder.", "auxiliary."):
        assert max(float(t.abs().max()) for n, t in answer.items() if n.startswith(part)) > 1e-6, part


@pytest.mark.parametrize("name", CASES)
def test_one_process_in_every_layout(name: str, oracles: dict[tuple[str, int], Answer], folder: Path) -> None:
    for layout in LAYOUTS:
        got = run(name, layout, Comm(), folder / "base", folder / "generator")
        assert_same(got, oracles[name, layout.accumulation], f"{name}, {layout}", RELATIVE)


@pytest.mark.cpu
@pytest.mark.dist
def test_two_processes_with_unequal_micro_batches(oracles: dict[tuple[str, int], Answer], folder: Path) -> None:
    run_two("tests.auxiliary.worker", folder)
    for rank in range(2):
        answers = torch.load(folder / f"answers-{rank}.pt")
        assert {case for case, _ in answers} == set(CASES)
        for (case, layout), got in answers.items():
            accumulation = 2 if "accumulation=2" in layout else 1
            assert_same(got, oracles[case, accumulation], f"{case}, process {rank} of 2, {layout}", RELATIVE)
