"""First stage: the folder, the record, and whether this recipe may go on there."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from embedkit.disk import files
from embedkit.disk.folders import RunFolder
from embedkit.disk.locks import hold_folder
from embedkit.errors import RecipeError, TrainingError
from embedkit.foreign.redacting import PLACEHOLDER, redact
from embedkit.model.reading.seeding import in_a_fixed_order
from embedkit.model.running.encoder import pick_device
from embedkit.recipe.load import dump, recipe_hash
from embedkit.recipe.reading.dump import BESIDE
from embedkit.recipe.reading.leaves import leaves
from embedkit.recipe.reading.settle import settle
from embedkit.recipe.reading.tree import parse
from embedkit.recipe.schema import Recipe
from embedkit.run.environment import now, quiet_libraries, versions
from embedkit.run.measuring import Measuring
from embedkit.run.state import Run, Say
from embedkit.train import checkpoint
from embedkit.train.distributed import join
from embedkit.train.stopping import Stopped, Stopping
from embedkit.types import RunRecord

_SHOWN = 5
"""How many differences between two recipes an error names."""
_LONG = 60
"""Characters of a value in it."""


@contextmanager
def begun(recipe: Recipe, out: Path, resume: bool, recipe_path: Path | None, say: Say, progress: bool) -> Iterator[Run]:
    """Settle the recipe's paths, join the other processes, open the folder and hold it until the run is over.

    While it is held, signals of the system end the run where nothing is lost. How a run ends that does not finish
    stands in its record.

    Raises:
        TrainingError: the folder holds the run of another recipe.
        BusyError: another process is at work in the folder.
        WriteError: the folder cannot be written.
        RecordError: the record of the run to resume cannot be read.
    """
    recipe = settle(recipe, None if recipe_path is None else recipe_path.parent)
    quiet_libraries()
    comm = join(pick_device(recipe.train.device).type)
    folder = RunFolder(out.resolve())
    with ExitStack() as held:
        if recipe.train.deterministic:
            held.enter_context(in_a_fixed_order())
        if comm.rank == 0:
            held.enter_context(hold_folder(folder.root, "training"))
        stopping = held.enter_context(Stopping())
        record, known = _record(recipe, folder, resume)
        comm.barrier()
        if comm.rank == 0:
            _prepare(folder, dump(recipe))
        first = comm.rank == 0
        measuring, said = Measuring(recipe), say if first else silent
        run = Run(recipe, folder, comm, record, said, progress and first, progress, measuring, stopping, known)
        try:
            yield run
        except BaseException as error:
            run.ended(_words(error))
            if isinstance(error, Stopped):
                with suppress(Exception):  # who ends first has the others ended by the launcher; one may be gone
                    comm.barrier()
            raise
        comm.leave_at_exit()


def _record(recipe: Recipe, folder: RunFolder, resume: bool) -> tuple[RunRecord, RunRecord | None]:
    """The record to go on with, and the one that an earlier start of the same run left."""
    refuse_other(recipe, folder)
    stored = redact(recipe.model_dump(mode="json"), PLACEHOLDER)
    record = RunRecord(recipe_hash=recipe_hash(recipe), recipe=stored, seed=recipe.train.seed)
    known = folder.read_record() if resume else None
    if known is not None and known.recipe_hash != record.recipe_hash:
        known = None  # nothing was trained, or it would have been refused
    if known is not None:
        kept = replace(known, recipe=record.recipe, finished="", failed="", warnings=[], forecast={})
        record = replace(kept, timings=dict(known.timings), resumed_from=list(known.resumed_from))
        record.energy = dict(known.energy)
    record.started = record.started or now()
    record.versions = versions()
    return record, known


def _prepare(folder: RunFolder, yaml: str) -> None:
    files.make_folder(folder.checkpoints)
    files.sweep(folder.root)
    shutil.rmtree(folder.unfinished_model, ignore_errors=True)
    files.write_text(folder.recipe, yaml)


def refuse_other(recipe: Recipe, folder: RunFolder) -> None:
    """Refuse a folder in which another recipe was trained; its checkpoints say which, where there are any.

    Raises:
        TrainingError: with the differences, and the overrides that take them back.
    """
    if not folder.trained:
        return
    written = [path / "embedkit" / "recipe.yaml" for path in checkpoint.find_checkpoints(folder.checkpoints)[-1:]]
    file = next((path for path in [*written, folder.recipe] if path.is_file()), None)
    text = "" if file is None else file.read_text(encoding="utf-8", errors="replace")
    if file is None or text == dump(recipe):
        return
    was, now_ = (_with_null(leaves(_parsed(yaml))) for yaml in (text, dump(recipe)))
    every = [(key, was.get(key), now_.get(key)) for key in {**was, **now_} if was.get(key) != now_.get(key)]
    found = [difference for difference in every if difference[0].partition(".")[0] not in BESIDE]
    if every and not found:
        return
    lines = [f"{key} was {_value(old)}, is {_value(new)}" for key, old, new in found[:_SHOWN]]
    if len(found) > _SHOWN:
        lines.append(f"{len(found) - _SHOWN} more")
    what = "this folder holds the run of another recipe" + (f": {'; '.join(lines)}" if lines else "")
    back = [f"{key}={_value(old)}" for key, old, _ in found if old is not None and len(json.dumps(old)) <= _LONG]
    cure = "resume with the run's own recipe and overrides"
    if back and len(back) == len(found) and len(found) <= _SHOWN:
        cure += f" ({' '.join(back)})"
    raise TrainingError(what, str(file), f"{cure}, or choose another --out")


def _parsed(text: str) -> Any:
    """What a recipe says; None where it is damaged."""
    try:
        return parse(text, "recipe.yaml").plain()
    except RecipeError:
        return None


def _with_null(values: dict[str, Any]) -> dict[str, Any]:
    """Null as text: nothing stands for a key that is not there."""
    return {key: "null" if value is None else value for key, value in values.items()}


def _value(value: Any) -> str:
    """As an override would give it; a key that is not there has no value."""
    if value is None:
        return "absent"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONG else text[: _LONG - 1] + "…"


def _words(error: BaseException) -> str:
    if isinstance(error, Stopped):
        return f"stopped by {error.signal}"
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    return f"{type(error).__name__}: {error}"


def silent(line: Any) -> None:
    """Only process 0 speaks."""
