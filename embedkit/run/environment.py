"""The machine a run is on: versions, clock, quiet libraries."""

from __future__ import annotations

import datetime
import importlib.metadata
import platform

from embedkit import __version__

LIBRARIES = ("torch", "transformers", "sentence-transformers", "accelerate", "datasets", "tokenizers", "numpy")


def versions() -> dict[str, str]:
    """Python, embedkit, the libraries that matter, and the machine in words."""
    import torch

    found = {"python": platform.python_version(), "embedkit": __version__}
    found |= {name: importlib.metadata.version(name) for name in LIBRARIES}
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, threads: {torch.get_num_threads()}"
    return found | {"machine": f"{platform.system()} {platform.machine()}, {device}"}


def now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")


def quiet_libraries() -> None:
    """One progress bar at a time, ours; what transformers says about loading and saving weights is its log's."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
