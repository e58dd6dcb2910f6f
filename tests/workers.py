"""Processes of a test: two that train together, and how long a test waits, which no fast or slow machine decides."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

PATIENCE = 1800.0
"""Seconds until a test gives up on a process. It ends what hangs; what works takes as long as it takes."""


def join_gloo(rank: int, folder: str | Path) -> None:
    """Make this process number `rank` of two that meet in a file of `folder`."""
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    store, patience = f"file://{folder}/store", timedelta(seconds=PATIENCE)
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=2, timeout=patience)


def run_two(module: str, *arguments: object) -> None:
    """Run ``python -m module RANK arguments ...`` as process 0 and as process 1; both must end well.

    When one fails the other is ended, so that it does not wait for its peer.
    """
    env = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    commands = [[sys.executable, "-m", module, str(rank), *map(str, arguments)] for rank in range(2)]
    workers = [subprocess.Popen(command, env=env, cwd=Path(__file__).parents[1]) for command in commands]
    try:
        wait_until(lambda: all(w.poll() == 0 for w in workers) or any(w.poll() for w in workers))
        codes = [w.poll() for w in workers]
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    assert codes == [0, 0], f"{module}: exit codes {codes}; None was ended for the other's failure"


def wait_until(ready: Callable[[], bool], child: subprocess.Popen[str] | None = None) -> None:
    """Wait until `ready` says so, while `child` lives."""
    end = time.monotonic() + PATIENCE
    while not ready():
        assert child is None or child.poll() is None, child.communicate()
        assert time.monotonic() < end, "it hangs"
        time.sleep(0.02)
