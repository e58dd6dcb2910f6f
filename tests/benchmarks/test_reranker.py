"""The benchmark of rerankers: both sides have the same loss and gradient, and the last line is a ratio."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tiny import sentences, tiny_bert
from tests.workers import PATIENCE

ROOT = Path(__file__).resolve().parents[2]


def run(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "benchmarks" / "reranker.py"), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, cwd=ROOT, check=False)


@pytest.mark.cpu
@pytest.mark.slow
def test_it_ends_with_a_ratio(tmp_path: Path) -> None:
    model, file = tiny_bert(tmp_path / "tiny"), tmp_path / "pairs.jsonl"
    texts = list(dict.fromkeys(sentences(40, longest=20)))
    rows = [{"query": query, "positive": document} for query, document in zip(texts[::2], texts[1::2], strict=False)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    where = ["--model", str(model), "--file", str(file), "--max-length", "64", "--threads", "1"]
    done = run(*where, "--batch", "8", "--steps", "2", "--rounds", "1")
    assert done.returncode == 0, done.stdout + done.stderr
    first, equal, *_, last = done.stdout.strip().splitlines()
    assert first.startswith("24 pairs") and "dropout off, fp32: loss" in equal
    assert float(last.removeprefix("ratio ")) > 0
    far = run(*where, "--batch", "64")
    assert far.returncode == 1 and "give --file, or fewer --steps" in far.stderr
