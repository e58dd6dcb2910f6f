"""The contract with transformed views, dropout variants and two towers: micro-batches, re-forward and processes never
change the gradient."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from embedkit.train.distributed import Comm
from tests.device import PACKS
from tests.tiny import tiny_bert
from tests.train.views import CASES, gradients
from tests.workers import run_two

Gradients = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bert(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def oracle(base: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Gradients]:
    folder = tmp_path_factory.mktemp("oracle")
    return {case: gradients(base, case, folder=folder, budget=0, comm=Comm()) for case in CASES}


def assert_same(got: Gradients, want: Gradients) -> None:
    assert got.keys() == want.keys()
    scale = max(float(g.abs().max()) for g in want.values())
    assert scale > 1e-6
    wrong = {n: float((got[n] - g).abs().max()) / scale for n, g in want.items()}
    assert max(wrong.values()) < 1e-10, max(wrong.items(), key=lambda item: item[1])


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("packs", PACKS)
@pytest.mark.parametrize(("budget", "graph"), [(16, "keep"), (60, "reforward"), (5000, "keep"), (5000, "reforward")])
def test_cutting_the_work_changes_nothing(
    base: Path, oracle: dict[str, Gradients], tmp_path: Path, case: str, packs: bool, budget: int, graph: str
) -> None:
    got = gradients(base, case, folder=tmp_path, budget=budget, graph=graph, packs=packs, comm=Comm())
    assert_same(got, oracle[case])


def test_cases_differ_from_each_other(oracle: dict[str, Gradients]) -> None:
    """The oracle would agree with anything if the transforms did nothing."""
    found = [next(g for n, g in oracle[case].items() if "layer.0.attention.self.query.weight" in n) for case in CASES]
    for i, one in enumerate(found):
        assert all(not torch.allclose(one, other) for other in found[i + 1 :])


@pytest.mark.cpu
@pytest.mark.dist
@pytest.mark.slow
def test_two_processes_have_the_gradient_of_one(base: Path, oracle: dict[str, Gradients], tmp_path: Path) -> None:
    run_two("tests.train.views", tmp_path, base)
    for rank in (0, 1):
        answers = torch.load(tmp_path / f"answers-{rank}.pt")
        for case, got in answers.items():
            assert_same(got, oracle[case])
