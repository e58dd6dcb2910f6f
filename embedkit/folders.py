"""Where things stand in a run's folder."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from embedkit.types import RunRecord


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
