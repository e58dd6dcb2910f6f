"""The published contract: processes x micro-batches x row blocks x accumulation never change the gradient."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from embedkit.recipe import registry
from embedkit.recipe.objectives.base import leaves
from embedkit.train.distributed import Comm
from tests.contract import parts
from tests.contract.answers import Answer, assert_same
from tests.contract.cases import FEW, LAYOUTS, Layout, oracle, run
from tests.workers import run_two

CASES = sorted(parts.CASES)
RELATIVE = 1e-10


@pytest.fixture(scope="module")
def oracles() -> dict[tuple[str, int], Answer]:
    return {(case, k): oracle(case, k) for case in CASES for k in (1, 2)}


def test_every_registered_objective_has_a_case() -> None:
    covered = {case.objective.name for case in parts.CASES.values()}
    covered |= {leaf.name for case in parts.CASES.values() for leaf in leaves(case.objective)}
    assert covered == set(registry.names("objective"))


def test_every_registered_batch_head_has_a_case() -> None:
    covered = {head.name for case in parts.CASES.values() for head in case.heads}
    assert covered == set(registry.names("head"))


@pytest.mark.parametrize("case", CASES)
def test_the_oracle_has_a_gradient(case: str, oracles: dict[tuple[str, int], Answer]) -> None:
    assert max(float(t.abs().max()) for n, t in oracles[case, 1].items() if n != "loss") > 1e-6


@pytest.mark.parametrize("case", CASES)
def test_one_process(case: str, oracles: dict[tuple[str, int], Answer]) -> None:
    _one_process(case, FEW, oracles)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_one_process_in_every_layout(case: str, oracles: dict[tuple[str, int], Answer]) -> None:
    _one_process(case, LAYOUTS, oracles)


@pytest.mark.dist
def test_two_processes(tmp_path: Path, oracles: dict[tuple[str, int], Answer]) -> None:
    _two_processes("two", FEW[:2], tmp_path, oracles)


@pytest.mark.slow
@pytest.mark.dist
def test_two_processes_in_every_layout(tmp_path: Path, oracles: dict[tuple[str, int], Answer]) -> None:
    _two_processes("all", LAYOUTS, tmp_path, oracles)


def _one_process(case: str, layouts: list[Layout], oracles: dict[tuple[str, int], Answer]) -> None:
    for layout in layouts:
        assert_same(run(case, layout, Comm()), oracles[case, layout.accumulation], f"{case}, {layout}", RELATIVE)


def _two_processes(which: str, layouts: list[Layout], folder: Path, oracles: dict[tuple[str, int], Answer]) -> None:
    run_two("tests.contract.worker", folder, which, ",".join(CASES))
    for rank in range(2):
        answers = torch.load(folder / f"answers-{rank}.pt")
        assert len(answers) == len(CASES) * len(layouts)
        for case in CASES:
            for layout in layouts:
                what = f"{case}, process {rank} of 2, {layout}"
                assert_same(answers[case, str(layout)], oracles[case, layout.accumulation], what, RELATIVE)


def test_a_wrong_scale_would_be_seen(oracles: dict[tuple[str, int], Answer]) -> None:
    case = CASES[0]
    wrong = {n: t * (1 + 1e-6) for n, t in oracles[case, 1].items()}
    with pytest.raises(AssertionError, match="differs by"):
        assert_same(wrong, oracles[case, 1], "tampered", RELATIVE)


def test_layouts_are_all_there() -> None:
    assert {lo.micro for lo in LAYOUTS} == {1, 3, None}
    assert {lo.accumulation for lo in LAYOUTS} == {1, 2}
    assert len(LAYOUTS) == len(set(LAYOUTS)) == 24
    assert set(FEW) < set(LAYOUTS)
    for part in ("micro", "accumulation", "keep", "block"):
        assert {getattr(lo, part) for lo in FEW} == {getattr(lo, part) for lo in LAYOUTS}
