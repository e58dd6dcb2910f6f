"""The cost of refreshes, on a tiny run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.run.mined import material
from tests.workers import PATIENCE

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.cpu
@pytest.mark.slow
def test_it_prints_the_cost_of_both_ways(tmp_path: Path) -> None:
    material(tmp_path)
    arguments = [
        *("--file", tmp_path / "pairs.jsonl", "--model", tmp_path / "tiny", "--corpus", tmp_path / "corpus.jsonl"),
        *("--steps", 4, "--every", 2, "--batch", 8, "--max-length", 32),
    ]
    command = [sys.executable, "benchmarks/refresh.py", *map(str, arguments)]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["once", "sync", "background", "sync", "background"]
    assert "0 refreshes" in lines[0] and "1 refreshes" in lines[1] and "waited for 0.0" in lines[0]
    assert all(re.fullmatch(r"(sync|background) overhead -?\d+ %", line) for line in lines[-2:])
