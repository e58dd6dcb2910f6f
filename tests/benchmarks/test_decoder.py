"""The benchmark of causal models: both parts end with a ratio; without weights a line says so."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.model.architectures import build
from tests.tiny import sentences

ROOT = Path(__file__).resolve().parents[2]


def run(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "benchmarks" / "decoder.py"), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=600, cwd=ROOT)


@pytest.mark.slow
def test_without_weights() -> None:
    """`make bench` goes on; a model that was asked for is an error."""
    absent, wrong = run(), run("--model", "no/such/folder")
    for done in (absent, wrong):
        assert done.stdout.startswith("not measured: ") and "--model FOLDER" in done.stdout
        assert not done.stderr and "ratio" not in done.stdout
    assert (absent.returncode, wrong.returncode) == (0, 2)


@pytest.mark.slow
def test_both_parts_end_with_a_ratio(tmp_path: Path) -> None:
    model = build("llama", tmp_path / "llama")
    (tmp_path / "text").write_text("\n".join(dict.fromkeys(sentences(60, longest=30))), encoding="utf-8")
    sizes = ["--batch", "4", "--steps", "1", "--rounds", "1", "--texts", "12", "--threads", "1"]
    done = run("--model", str(model), "--file", str(tmp_path / "text"), *sizes)
    assert done.returncode == 0, done.stderr
    step, encoding = done.stdout.split("\nencoding\n")
    for part in (step, encoding):
        assert float(part.strip().splitlines()[-1].removeprefix("ratio ")) > 0
    assert "dropout off, fp32: loss" in step and "relative distance" in encoding
