"""The benchmark of mining at a tiny size: the sides agree, and the last two lines are what they are said to be."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tiny import sentences

ROOT = Path(__file__).resolve().parents[2]


def run(*options: str) -> list[str]:
    sizes = ["--queries", "60", "--passages", "400", "--depth", "61", "--keep", "4", "--threads", "1"]
    command = [sys.executable, str(ROOT / "benchmarks" / "mine.py"), *sizes, *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def check(lines: list[str]) -> None:
    agreed = [line for line in lines if line.startswith("identical negatives")]
    assert len(agreed) == 2
    for line in agreed:
        same = int(re.search(r": (\d+) of 60 queries", line)[1])  # type: ignore[index]
        assert same == 60 or (same > 50 and line.endswith(", 0 in their number"))
    assert re.fullmatch(r"exact ratio \d+\.\d\d memory \d+\.\d\d", lines[-2])
    assert re.fullmatch(r"ratio \d+\.\d\d", lines[-1])


@pytest.mark.slow
def test_synthetic_vectors() -> None:
    lines = run()
    assert "synthetic vectors" in lines[0]
    check(lines)


@pytest.mark.slow
def test_text_embedded_once(tmp_path: Path) -> None:
    texts = dict.fromkeys(sentences(700, shortest=8, longest=14))
    (tmp_path / "text").write_text("\n".join(texts), encoding="utf-8")
    options = ["--text", str(tmp_path / "text"), "--work", str(tmp_path / "work")]
    lines = run(*options)
    assert "lines of text, embedded by all-MiniLM-L6-v2" in lines[0]
    check(lines)
    written = (tmp_path / "work" / "passages.npy").stat().st_mtime_ns
    check(run(*options))
    assert (tmp_path / "work" / "passages.npy").stat().st_mtime_ns == written
