"""Stopped by the system: the run ends after the update with a checkpoint, and goes on as if nothing had happened."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from embedkit.recipe.schema import Recipe
from embedkit.train import checkpoint
from embedkit.train.stopping import SIGNALS, Stopped, Stopping
from embedkit.train.trainer import Trainer
from tests.tiny import tiny_bert
from tests.train.runs import recipe, scores, state, suite, trainer


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bert(tmp_path_factory.mktemp("base"))


def made(base: Path) -> Recipe:
    return Recipe.model_validate({**recipe(base, save_every=None, log_every=3).model_dump(), "eval": suite(every=2)})


@pytest.fixture(scope="module")
def whole(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Trainer:
    """8 updates, evaluated at 2, 4, 6 and 8, without interruption."""
    t = trainer(made(base), tmp_path_factory.mktemp("whole"), evaluate=scores)
    t.train()
    return t


def lines(t: Trainer, *names: str) -> list[tuple[Any, ...]]:
    return [tuple(h[n] for n in ("step", *names)) for h in t.state.log_history if names[0] in h]


def worker(base: Path, folder: Path, what: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.train.runs", str(base), str(folder), what]
    return subprocess.run(command, check=False, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("what", "update"),
    [
        ("SIGTERM@2", 3),  # between two evaluations and two logged lines
        pytest.param("SIGUSR1@4", 5, marks=pytest.mark.slow),
        pytest.param("SIGHUP@0", 1, marks=pytest.mark.slow),
        pytest.param("SIGTERM@3", 4, marks=pytest.mark.slow),  # an evaluation is due: it is left to the resumed run
        pytest.param("SIGTERM@evaluation4", 4, marks=pytest.mark.slow),  # in the middle of it
        pytest.param("SIGTERM@evaluation8", 8, marks=pytest.mark.slow),  # no update is left
        pytest.param("SIGTERM@7", 8, marks=pytest.mark.slow),
    ],
)
def test_a_stopped_run_goes_on_as_if_nothing_had_happened(
    base: Path, whole: Trainer, tmp_path: Path, what: str, update: int
) -> None:
    done = worker(base, tmp_path, what)
    assert done.returncode == 3, done.stderr
    newest = checkpoint.find_checkpoints(tmp_path)[-1]
    assert checkpoint.step_of(newest) == update
    resumed = trainer(made(base), tmp_path, evaluate=scores)
    resumed.train(resume_from_checkpoint=str(newest))
    assert lines(resumed, "eval_average") == lines(whole, "eval_average")
    assert (resumed.state.best_global_step, resumed.state.best_metric) == (
        whole.state.best_global_step,
        whole.state.best_metric,
    )
    got, want = resumed.trainee.state_dict(), whole.trainee.state_dict()
    if update < 8:
        got, want = state(resumed), state(whole)
    assert got.keys() == want.keys() and all(torch.equal(got[n], want[n]) for n in want)
    assert resumed.load_best() == whole.state.best_global_step
    tokens = sum(h["tokens"] for h in resumed.state.log_history if "tokens" in h)
    assert tokens == sum(h["tokens"] for h in whole.state.log_history if "tokens" in h), "no line was lost"


@pytest.mark.slow
def test_the_line_says_what_happens(base: Path, tmp_path: Path) -> None:
    done = worker(base, tmp_path, "SIGTERM@2")
    assert "SIGTERM: stopping after this update, with a checkpoint; SIGTERM once more ends it at once" in done.stderr


def test_a_second_sigterm_ends_at_once(base: Path, tmp_path: Path) -> None:
    assert worker(base, tmp_path, "SIGTERM2@2").returncode == -signal.SIGTERM
    assert [checkpoint.step_of(p) for p in checkpoint.find_checkpoints(tmp_path)] == [2]


@pytest.mark.slow
def test_a_second_signal_of_another_kind_does_not(base: Path, tmp_path: Path) -> None:
    assert worker(base, tmp_path, "SIGUSR12@2").returncode == 3


def test_signals_end_what_may_end(monkeypatch: pytest.MonkeyPatch) -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    for number in SIGNALS:
        with Stopping() as stopping, pytest.raises(Stopped, match=str(int(number))) as caught:
            os.kill(os.getpid(), number)
        assert (stopping.asked, caught.value.signal) == (number, signal.Signals(number).name)
        with Stopping() as stopping, stopping.later():
            os.kill(os.getpid(), number)
            assert stopping.asked == number
            with pytest.raises(Stopped), stopping.at_once():
                raise AssertionError("it was asked before")
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_signals_that_are_not_ours_are_left_alone() -> None:
    seen: list[int] = []
    before = signal.getsignal(signal.SIGHUP), signal.getsignal(signal.SIGUSR1)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # nohup
    signal.signal(signal.SIGUSR1, lambda number, frame: seen.append(number))
    try:
        with Stopping() as stopping:
            os.kill(os.getpid(), signal.SIGHUP)
            os.kill(os.getpid(), signal.SIGUSR1)
        assert (stopping.asked, seen) == (None, [signal.SIGUSR1])
    finally:
        signal.signal(signal.SIGHUP, before[0])
        signal.signal(signal.SIGUSR1, before[1])


def test_the_launchers_echo_of_a_signal_is_no_second_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    with Stopping() as stopping, stopping.later():
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        assert stopping.asked == signal.SIGTERM
