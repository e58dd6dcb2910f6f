"""Real processes that the system stops, kills, or starts twice in one folder."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from tests.cli.conftest import spawn

ENDLESS = ("train", "r.yaml", "train.steps=100000", "train.save_every=5", "eval.suite=null", "--out", "run")


def trains(child: subprocess.Popen[str], folder: Path) -> None:
    """Wait until a checkpoint is there; no longer than the process lives, however slow it is."""
    while not list(folder.glob("checkpoints/checkpoint-*")):
        assert child.poll() is None, child.communicate()[1]
        time.sleep(0.2)


def ended(child: subprocess.Popen[str]) -> tuple[str, str]:
    out, err = child.communicate()
    assert "Traceback" not in err, err
    return out, err


def newest(folder: Path) -> int:
    return max(int(p.name.removeprefix("checkpoint-")) for p in folder.glob("checkpoints/checkpoint-*"))


@pytest.mark.dist
@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGUSR1, marks=pytest.mark.slow)])
def test_a_stopped_run_leaves_a_checkpoint_and_says_how_to_go_on(work: Path, number: signal.Signals) -> None:
    child = spawn(*ENDLESS)
    trains(child, Path("run"))
    child.send_signal(number)
    _, err = ended(child)
    assert child.returncode == 143, err
    update = newest(Path("run"))
    record = json.loads(Path("run/run.json").read_text())
    assert (record["updates"], record["failed"]) == (update, f"stopped by {number.name}")
    assert f"{number.name}: stopping after this update, with a checkpoint" in err
    command = "embedkit train r.yaml train.steps=100000 train.save_every=5 eval.suite=null --out run --resume"
    assert f"stopped by {number.name}; checkpoint-{update} is whole; to go on: {command}" in err


@pytest.mark.dist
@pytest.mark.slow
@pytest.mark.parametrize("everyone", [False, True])
def test_several_processes_stop_after_the_same_update(work: Path, everyone: bool) -> None:
    """Whether the launcher alone gets the signal, or all of them."""
    child = spawn(*ENDLESS, "--nproc", "2")
    trains(child, Path("run"))
    (os.killpg if everyone else os.kill)(child.pid, signal.SIGTERM)
    _, err = ended(child)
    assert child.returncode == 143, err
    last = Path("run/checkpoints") / f"checkpoint-{newest(Path('run'))}"
    assert {p.name for p in last.glob("rng_state_*")} == {"rng_state_0.pth", "rng_state_1.pth"}
    assert f"stopped by SIGTERM; {last.name} is whole; to go on: embedkit train" in err
    assert "--nproc 2" in err


@pytest.mark.dist
@pytest.mark.parametrize("rank", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_a_process_that_is_killed_is_named(work: Path, rank: int) -> None:
    """As where memory runs out: the other one is asked to end, and that is not why the run ended."""
    child = spawn(*ENDLESS, "--nproc", "2")
    trains(child, Path("run"))
    workers = psutil.Process(child.pid).children()
    next(worker for worker in workers if worker.environ().get("RANK") == str(rank)).kill()
    out, err = child.communicate()
    assert child.returncode == 1, err
    assert f"process {rank}: ended by SIGKILL, as a system does where memory runs out\n  cure: --resume goes on" in err
    assert "stopped by" not in out + err


@pytest.mark.dist
@pytest.mark.slow
def test_runs_with_several_seeds_stop_too(work: Path) -> None:
    child = spawn(*ENDLESS, "--seeds", "2")
    trains(child, Path("run/seed-42"))
    child.send_signal(signal.SIGTERM)
    _, err = ended(child)
    assert child.returncode == 143, err
    assert re.search(r"by SIGTERM; finished runs .*to go on: embedkit train .* --seeds 2 --out run --resume", err)
    record = json.loads(Path("run/seed-42/run.json").read_text())
    assert record["updates"] == newest(Path("run/seed-42"))


@pytest.mark.dist
@pytest.mark.slow
def test_two_runs_in_one_folder_and_a_lock_left_by_a_killed_one(work: Path) -> None:
    child = spawn(*ENDLESS)
    trains(child, Path("run"))
    second = spawn(*ENDLESS, "--resume")
    _, err = second.communicate()
    assert second.returncode == 1
    assert re.search(rf"run: process {child.pid} has been training here since .*\n  cure: wait until it is done", err)
    assert child.poll() is None, "the first goes on"
    child.kill()
    child.communicate()
    last = newest(Path("run"))
    third = spawn(*ENDLESS, "--resume")
    while newest(Path("run")) == last:
        assert third.poll() is None, third.communicate()[1]
        time.sleep(0.2)
    third.send_signal(signal.SIGTERM)
    out, _ = ended(third)
    assert third.returncode == 143
    assert f"resuming from update {last}" in out
