"""Mining in two processes: each encodes and searches its share, and the negatives are those of one process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from embedkit.mining.table import MinedTable
from tests.run.mined import material
from tests.tiny import tiny_bert
from tests.workers import PATIENCE

pytestmark = [pytest.mark.cpu, pytest.mark.dist]
RECIPE = """
model: {{base: still, pooling: mean}}
data: {{sources: [{{path: pairs.jsonl}}]}}
negatives: {{per_query: 2}}
mining: {{refresh: {{every: 2}}, depth: 12, keep: 4, corpus: corpus.jsonl, mode: {mode}}}
train: {{batch_size: 8, steps: 6, device: cpu, learning_rate: 0.05, optimizer: sgd, save_every: 2}}
"""


def run(folder: Path, recipe: Path, out: str, *extra: str) -> None:
    env = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", "embedkit", "train", str(recipe), "--out", str(folder / out), *extra]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stdout[-9000:] + done.stderr[-9000:]


@pytest.mark.parametrize("mode", ["sync", pytest.param("background", marks=pytest.mark.slow)])
def test_two_processes_mine_what_one_mines(tmp_path: Path, mode: str) -> None:
    material(tmp_path)
    tiny_bert(tmp_path / "still", dropout=0.0)
    (tmp_path / "recipe.yaml").write_text(RECIPE.format(mode=mode))
    for out, extra in (("one", ()), ("two", ("--nproc", "2"))):
        run(tmp_path, tmp_path / "recipe.yaml", out, *extra)
    for update in (0, 2) if mode == "background" else (0, 2, 4):
        one, two = (
            MinedTable.read(p / f"mined/update-{update:06d}/mined-0.safetensors", 29)
            for p in (tmp_path / "one", tmp_path / "two")
        )
        assert np.array_equal(one.rows, two.rows) and np.array_equal(one.rank, two.rank)
        assert np.allclose(one.scores[one.rows >= 0], two.scores[two.rows >= 0], atol=1e-4)
    a, b = (load_file(tmp_path / out / "model" / "model.safetensors") for out in ("one", "two"))
    assert all(torch.allclose(a[name], b[name], atol=1e-4) for name in a)
    versions = [json.loads((tmp_path / out / "run.json").read_text())["mining"] for out in ("one", "two")]
    assert [[v["used"] for v in found] for found in versions] == [[v["used"] for v in versions[0]]] * 2
