"""Where things stand in a run's folder, and its record."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from embedkit.disk import files
from embedkit.errors import RecordError
from embedkit.foreign.parsing import from_json
from embedkit.foreign.quoting import listed
from embedkit.types import Interval, RunRecord

FORMAT = 1
"""Of ``run.json``; a number above it is of a newer version."""


@dataclass(frozen=True)
class RunFolder:
    """Where things stand in a run's folder."""

    root: Path

    @property
    def recipe(self) -> Path:
        return self.root / "recipe.yaml"

    @property
    def recipe_text(self) -> str:
        """What the recipe says, as far as it can be read; empty where there is none."""
        return self.recipe.read_text(encoding="utf-8", errors="replace") if self.recipe.is_file() else ""

    @property
    def record(self) -> Path:
        return self.root / "run.json"

    @property
    def checkpoints(self) -> Path:
        return self.root / "checkpoints"

    @property
    def model(self) -> Path:
        return self.root / "model"

    @property
    def unfinished_model(self) -> Path:
        """Where the model is written and tried before it gets its name."""
        return self.root / f"{files.OURS}-model"

    @property
    def frozen(self) -> Path:
        """The tower that stayed as it is, where two were asked for and one was frozen."""
        return self.root / "frozen"

    @property
    def probes(self) -> Path:
        """What the model gave for a few texts when it was saved."""
        return self.root / "probes.npz"

    def triplets(self, source: int) -> Path:
        """Triplets sampled from the texts of a source, with their diagnostics."""
        return self.root / "triplets" / f"source-{source}"

    @property
    def mined(self) -> Path:
        """Searches for negatives, each in a folder of its own, with vectors and problems beside them."""
        return self.root / "mined"

    def clusters(self, source: int) -> Path:
        """Clusters of the rows of a source."""
        return self.root / "clusters" / f"source-{source}"

    def scores(self, when: str) -> Path:
        return self.root / "eval" / when

    @property
    def stages(self) -> Path:
        """Runs of the stages of a recipe that has some, each in a folder of its own."""
        return self.root / "stages"

    @property
    def trained(self) -> bool:
        """Whether there is something that took training: a checkpoint or a model."""
        inside = any(RunFolder(stage).trained for stage in self.stages.glob("*"))
        return inside or self.model.is_dir() or any(self.checkpoints.glob("checkpoint-*"))

    @property
    def newest_checkpoint(self) -> Path | None:
        """By the number in its name; what stands there under such a name is whole."""
        found = {int(p.name[11:]): p for p in self.checkpoints.glob("checkpoint-*") if p.name[11:].isdecimal()}
        return found[max(found)] if found else None

    def write_record(self, record: RunRecord) -> None:
        """Write ``run.json`` whole or not at all.

        Raises:
            WriteError: it cannot be written.
        """
        files.write_json(self.record, {"format": FORMAT, **asdict(record)})

    def read_record(self) -> RunRecord | None:
        """What an earlier start of this run wrote, if any.

        Raises:
            RecordError: it is cut, of a newer version, or no record of a run.
        """
        try:
            text = self.record.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            what = f"the run's record cannot be read: {error.strerror}"
            raise RecordError(what, str(self.record), "give the folder of a run") from error
        return _record(text, str(self.record))


def _record(text: bytes, where: str) -> RunRecord:
    aside = "move the file away; the run can go on without it, but what it measured before is not known then"
    try:
        found = from_json(text)
    except ValueError as error:
        what = f"is cut or damaged: {error}" if text.strip() else "is empty"
        raise RecordError(f"the run's record {what}", where, aside) from error
    if not isinstance(found, dict) or not {"recipe_hash", "recipe"} <= found.keys():
        raise RecordError("is not the record of a run of embedkit", where, "give the folder of a run")
    unknown = sorted(found.keys() - {field.name for field in fields(RunRecord)} - {"format"})
    if found.get("format", FORMAT) != FORMAT or unknown:
        versions = found.get("versions")
        version = versions.get("embedkit") if isinstance(versions, dict) else None
        named = f"; unknown here: {listed(unknown)}" if unknown else ""
        what = f"the run's record is of another version of embedkit ({version or 'which it does not say'}){named}"
        raise RecordError(what, where, "use that version, or a newer one")
    return _checked(text, found, where, aside)


def _checked(text: bytes, found: dict[str, Any], where: str, cure: str) -> RunRecord:
    """The record, once everything in it has the form that its readers trust."""
    from pydantic import TypeAdapter, ValidationError

    try:
        record = TypeAdapter(RunRecord).validate_json(text, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise RecordError(f"the run's record is damaged: {key}: {first['msg']}", where, cure) from error
    parts: dict[str, Callable[[], Any]] = {
        "recipe": lambda: [record.recipe.get(block, {}).keys() for block in ("model", "objective", "train", "eval")],
        "timings": lambda: [_finite(seconds) for seconds in record.timings.values()],
        "energy": lambda: [_finite(number) for number in record.energy.values()],
        "forecast": lambda: [_finite(seconds) for seconds in record.forecast.values()],
        "scores_before": lambda: _numbers(record.scores_before),
        "scores_after": lambda: _numbers(record.scores_after),
        "comparison": lambda: [(c["task"], Interval(**c["difference"])) for c in record.comparison],
        "data": lambda: [sum((source.get("skipped") or {}).values()) for source in record.data],
    }
    for key, read in parts.items():
        try:
            read()
        except (KeyError, TypeError, AttributeError) as error:
            what = f"the run's record is damaged: {key}: {type(error).__name__}: {error}"
            raise RecordError(what, where, cure) from error
    return record


def _finite(value: Any) -> float:
    """A number that is written down and drawn; JSON's NaN and Infinity are none."""
    if not math.isfinite(value):
        raise TypeError(f"{value} is not finite")
    return float(value)


def _numbers(scores: dict[str, Any] | None) -> list[Any]:
    """What is read of a run's scores."""
    if scores is None:
        return []
    found = [_finite(scores["average"]), scores["tasks"], scores.get("interval")]
    found += [(task["task"], task["main"], _finite(task["metrics"][task["main"]])) for task in scores["tasks"]]
    intervals = [part.get("interval") for part in (scores, *scores["tasks"])]
    return [*found, *(Interval(**interval) for interval in intervals if interval is not None)]
