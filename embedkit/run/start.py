"""First stage: the folder, the record, and whether this recipe may go on there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from embedkit.errors import TrainingError
from embedkit.folders import RunFolder
from embedkit.model.running.encoder import pick_device
from embedkit.recipe.load import dump, recipe_hash
from embedkit.recipe.reading.settle import settle
from embedkit.recipe.schema import Recipe
from embedkit.redacting import PLACEHOLDER, redact
from embedkit.run.environment import now, quiet_libraries, versions
from embedkit.run.measuring import Measuring
from embedkit.run.state import Run, Say
from embedkit.train.distributed import join
from embedkit.types import RunRecord


def begin(recipe: Recipe, out: Path, resume: bool, recipe_path: Path | None, say: Say, progress: bool) -> Run:
    """Settle the recipe's paths, join the other processes, and open the folder.

    Raises:
        TrainingError: the folder holds the run of another recipe.
    """
    recipe = settle(recipe, None if recipe_path is None else recipe_path.parent)
    quiet_libraries()
    comm = join(pick_device(recipe.train.device).type)
    folder = RunFolder(out.resolve())
    yaml = dump(recipe)
    if folder.trained and folder.recipe.is_file() and folder.recipe.read_text(encoding="utf-8") != yaml:
        raise TrainingError(
            "this folder holds the run of another recipe",
            str(folder.recipe),
            "resume with the run's own recipe and overrides, or choose another --out",
        )
    stored = redact(recipe.model_dump(mode="json"), PLACEHOLDER)
    record = RunRecord(recipe_hash=recipe_hash(recipe), recipe=stored, seed=recipe.train.seed)
    known = folder.read_record() if resume else None
    if known is not None:
        record.timings, record.resumed_from, record.started = known.timings, known.resumed_from, known.started
    record.started = record.started or now()
    record.versions = versions()
    comm.barrier()
    if comm.rank == 0:
        folder.checkpoints.mkdir(parents=True, exist_ok=True)
        folder.recipe.write_text(yaml, encoding="utf-8")
    first = comm.rank == 0
    measuring = Measuring(recipe)
    return Run(recipe, folder, comm, record, say if first else silent, progress and first, progress, measuring)


def silent(line: Any) -> None:
    """Only process 0 speaks."""
