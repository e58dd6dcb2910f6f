"""torch keeps its threads while faiss works beside it, whichever was loaded first."""

from __future__ import annotations

import subprocess
import sys

import pytest

LOADED = """
import {0}
import {1}
from embedkit.vectors.index.pool import faiss_after_torch, taking_turns

torch.set_num_threads(3)
faiss.omp_set_num_threads(3)
with taking_turns():
    print(torch.get_num_threads(), faiss.omp_get_max_threads())
print(torch.get_num_threads(), faiss.omp_get_max_threads())
"""


@pytest.mark.parametrize("order", [("torch", "faiss"), ("faiss", "torch")])
def test_torch_keeps_its_threads(order: tuple[str, str]) -> None:
    done = subprocess.run([sys.executable, "-c", LOADED.format(*order)], capture_output=True, text=True, check=True)
    inside, after = (tuple(map(int, line.split())) for line in done.stdout.splitlines())
    assert inside in {(3, 3), (3, 1)} and after == (3, 3)


def test_faiss_comes_after_torch() -> None:
    """Where they can share threads, they do."""
    code = LOADED.format("torch", "faiss").replace("import torch\nimport faiss\n", "")
    code = code.replace("torch.set", "faiss = faiss_after_torch()\nimport torch\ntorch.set", 1)
    one, other = (
        subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True).stdout
        for text in (code, LOADED.format("torch", "faiss"))
    )
    assert one == other
