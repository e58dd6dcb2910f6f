"""Start one process per device with torchrun's launcher."""

from __future__ import annotations

import os
import sys
import uuid

import typer
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch


def launch(arguments: list[str], nproc: int) -> None:
    """Run ``python -m embedkit train ARGUMENTS`` in `nproc` processes of this machine and wait for them.

    The same as ``torchrun --standalone --nproc-per-node N -m embedkit train ...``, but the exit code is that of
    the first process that failed.

    Raises:
        typer.Exit: with the code of a failed process.
    """
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // nproc)))
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=nproc,
        run_id=str(uuid.uuid4()),
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
    )
    try:
        elastic_launch(config, sys.executable)("-m", "embedkit", "train", *arguments)
    except ChildFailedError as error:
        codes = [failure.exitcode for failure in error.failures.values() if failure.exitcode > 0]
        raise typer.Exit(min(codes, key=lambda code: (code == 1, code), default=1)) from error
