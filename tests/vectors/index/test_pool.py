"""torch keeps its threads while faiss works beside it, whichever was loaded first."""

from __future__ import annotations

import subprocess
import sys

import pytest

TOLD = """
from embedkit.vectors.index.pool import taking_turns

torch.set_num_threads(3)
faiss.omp_set_num_threads(3)
with taking_turns():
    print(torch.get_num_threads(), faiss.omp_get_max_threads())
print(torch.get_num_threads(), faiss.omp_get_max_threads())
"""


def told(*loading: str) -> list[tuple[int, ...]]:
    """Threads of torch and of faiss while they take turns, and after it, in a program that begins with these lines."""
    code = "\n".join([*loading, TOLD])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return [tuple(map(int, line.split())) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("order", [("torch", "faiss"), ("faiss", "torch")])
def test_torch_keeps_its_threads(order: tuple[str, str]) -> None:
    inside, after = told(*(f"import {name}" for name in order))
    assert inside in {(3, 3), (3, 1)} and after == (3, 3)


def test_faiss_comes_after_torch() -> None:
    """Where they can share threads, they do."""
    ours = ("from embedkit.vectors.index.pool import faiss_after_torch", "faiss = faiss_after_torch()", "import torch")
    assert told(*ours) == told("import torch", "import faiss")
