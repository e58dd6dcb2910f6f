"""Start one process per device with torchrun's launcher."""

from __future__ import annotations

import logging
import os
import signal
import sys
import tempfile
import uuid
from pathlib import Path

import psutil
import typer
from torch.distributed.elastic.multiprocessing.api import DefaultLogsSpecs, SignalException, Std
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from embedkit.cli.console import LAUNCHED, STOPPED, say
from embedkit.errors import TrainingError
from embedkit.train.stopping import SIGNALS, PassingOn, Stopped

_TAIL = 40
_SOON = 15
"""Seconds; the launcher kills after 30 those that it has asked to end."""
_ASKED = (STOPPED, -signal.SIGTERM)
"""Exit codes of a process that was asked to end."""


def launch(arguments: list[str], nproc: int) -> None:
    """Run ``python -m embedkit train ARGUMENTS`` in `nproc` processes of this machine and wait for them.

    The same as ``torchrun --standalone --nproc-per-node N -m embedkit train ...``, but only process 0 writes to
    the terminal, and the exit code is that of the process that failed for a reason of its own.

    Raises:
        typer.Exit: with the code of a failed process.
        KeyboardInterrupt: interrupted; the processes have ended.
        Stopped: the system asked for it; as above.
        TrainingError: a signal ended a process, as where memory runs out.
    """
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // nproc)))
    os.environ[LAUNCHED] = "1"
    os.environ["TORCHELASTIC_SIGNALS_TO_HANDLE"] = "SIGINT,SIGQUIT"  # the others it would follow by a kill
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory(prefix="embedkit-") as logs:
        others = dict.fromkeys(range(1, nproc), Std.ALL)
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=nproc,
            run_id=str(uuid.uuid4()),
            rdzv_backend="c10d",
            rdzv_endpoint="localhost:0",
            max_restarts=0,
            logs_specs=DefaultLogsSpecs(log_dir=logs, redirects=others),
        )
        passing_on = PassingOn(_workers)
        try:
            with passing_on:
                elastic_launch(config, sys.executable)("-m", "embedkit", "train", *arguments)
        except SignalException as error:
            raise (Stopped(error.sigval) if error.sigval in SIGNALS else KeyboardInterrupt) from error
        except ChildFailedError as error:
            codes = _first({rank: (failure.timestamp, failure.exitcode) for rank, failure in error.failures.items()})
            if _stopped(list(codes.values()), passing_on.asked):
                raise Stopped(passing_on.asked or signal.SIGTERM) from error
            rank = _culprit(codes)
            if rank != 0:
                _show_log(Path(logs), rank)
            if codes[rank] < 0:
                raise _killed(rank, -codes[rank]) from error
            raise typer.Exit(max(1, codes[rank])) from error


def _workers() -> list[int]:
    return [child.pid for child in psutil.Process().children()]


def _first(ends: dict[int, tuple[int, int]]) -> dict[int, int]:
    """Exit codes of the processes that ended about when the first did, of all processes' (second, code)."""
    first = min(second for second, _ in ends.values())
    return {rank: code for rank, (second, code) in ends.items() if second < first + _SOON}


def _stopped(codes: list[int], asked: int | None) -> bool:
    """Whether the processes ended because the system asked them to, and for no reason of their own."""
    if asked is not None:
        return all(code < 0 or code == STOPPED for code in codes)
    return STOPPED in codes and all(code in _ASKED for code in codes)


def _culprit(codes: dict[int, int]) -> int:
    """The process that failed for a reason of its own; the others fail when it is gone, or are asked to end.

    A code above 1 names a reason (recipe, data), a negative one a signal, 1 an exception.
    """
    return min(codes, key=lambda rank: (codes[rank] in _ASKED, codes[rank] == 1, codes[rank] < 0, rank))


def _killed(rank: int, number: int) -> TrainingError:
    name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
    why, cure = "", "--resume goes on from the newest checkpoint"
    if name == "SIGKILL":
        why = ", as a system does where memory runs out"
        cure += "; if it was memory, lower --nproc or train.tokens_per_micro_batch, or set train.graph: reforward"
    return TrainingError(f"ended by {name}{why}", f"process {rank}", cure)


def _show_log(folder: Path, rank: int) -> None:
    for path in folder.rglob(f"{rank}/stderr.log"):
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        for line in [f"process {rank} failed:", *lines[-_TAIL:]]:
            say(line)
