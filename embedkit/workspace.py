"""A run's folder, its record, and the machine it runs on."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import platform
from dataclasses import asdict, dataclass
from pathlib import Path

from embedkit import __version__
from embedkit.types import RunRecord

LIBRARIES = ("torch", "transformers", "sentence-transformers", "accelerate", "datasets", "tokenizers", "numpy")


@dataclass(frozen=True)
class RunFolder:
    """Where things stand in a run's folder."""

    root: Path

    @property
    def recipe(self) -> Path:
        return self.root / "recipe.yaml"

    @property
    def record(self) -> Path:
        return self.root / "run.json"

    @property
    def checkpoints(self) -> Path:
        return self.root / "checkpoints"

    @property
    def model(self) -> Path:
        return self.root / "model"

    def triplets(self, source: int) -> Path:
        """Triplets sampled from the texts of a source, with their diagnostics."""
        return self.root / "triplets" / f"source-{source}"

    def scores(self, when: str) -> Path:
        return self.root / "eval" / when

    @property
    def trained(self) -> bool:
        """Whether there is something that took training: a checkpoint or a model."""
        return self.model.is_dir() or any(self.checkpoints.glob("checkpoint-*"))

    def write_record(self, record: RunRecord) -> None:
        """Write ``run.json`` whole or not at all."""
        staging = self.record.with_suffix(".tmp")
        staging.write_text(json.dumps(asdict(record), indent=1, ensure_ascii=False), encoding="utf-8")
        staging.replace(self.record)

    def read_record(self) -> RunRecord | None:
        """What an earlier start of this run wrote, if any."""
        if not self.record.is_file():
            return None
        return RunRecord(**json.loads(self.record.read_text(encoding="utf-8")))


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
