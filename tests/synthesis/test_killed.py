"""A run that is killed with its last line half written goes on where it was, and ends as if nothing had happened."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from tests.cli.conftest import spawn
from tests.synthesis.server import Server
from tests.tiny import sentences
from tests.workers import PATIENCE, wait_until

TEXTS = sentences(40, seed=4, shortest=4)


@pytest.mark.dist
def test_kill_in_a_run_and_in_a_line(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("text.txt").write_text("\n".join(TEXTS) + "\n")
    server.stop_after = answered = 20
    concurrency = 3
    command = ["synth", "syncse-partial", "--text", "text.txt", "--out", "t.jsonl", "--endpoint", server.url]
    command += ["--model", "tiny", "--concurrency", str(concurrency), "--timeout", str(PATIENCE)]
    running = spawn(*command)
    cache = Path("t.cache")
    wait_until(lambda: cache.exists() and cache.read_bytes().count(b"\n") == answered, running)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    kept = cache.read_bytes().count(b"\n")
    assert kept == answered and not Path("t.jsonl").exists()
    assert len(server.requests) <= kept + concurrency
    cache.write_bytes(cache.read_bytes().rstrip(b"\n")[:-20])  # as a kill in the middle of the write would leave it

    server.go_on()
    before = len(server.requests)
    done = spawn(*command)
    _, err = done.communicate(timeout=PATIENCE)
    assert done.returncode == 0, err
    late = len(server.requests) - before - (2 * len(TEXTS) - (kept - 1))  # sent before the kill, read after it
    assert 0 <= late <= concurrency, "only what was missing is asked"
    meta = json.loads(Path("t.meta.json").read_text())
    assert meta["calls"]["cached"]["positive"] + meta["calls"]["cached"]["negative"] == kept - 1

    whole = spawn(*[word.replace("t.jsonl", "whole.jsonl") for word in command])
    assert whole.wait(PATIENCE) == 0
    assert Path("whole.jsonl").read_bytes() == Path("t.jsonl").read_bytes()
