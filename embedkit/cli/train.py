"""``embedkit train``: one run, in one process or several, or the same run with several seeds."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from embedkit.cli.console import INTERRUPTED, LAUNCHED, STOPPED, go_offline, say
from embedkit.cli.options import Offline, Overrides, Processes, Recipe
from embedkit.errors import EmbedkitError

if TYPE_CHECKING:
    from embedkit.recipe.load import Loaded, LoadedStages


def train(
    recipe: Recipe,
    overrides: Overrides = None,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The run's folder: model, report, record.")] = ...,  # type: ignore[assignment]
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint in DIR.")] = False,
    nproc: Processes = 1,
    seeds: Annotated[
        int, typer.Option("--seeds", min=1, metavar="N", help="N runs with seeds train.seed, +1, ..., in DIR/seed-K.")
    ] = 1,
    offline: Offline = False,
) -> None:
    """Train a recipe; measure the model before and after; write the model, a report and a record.

    DIR/model loads with plain SentenceTransformer; DIR/report says what changed.

    A run that was cut off goes on with --resume, as if nothing had happened. SIGTERM, SIGHUP and SIGUSR1 end it after
    the update with a checkpoint and exit code 143; a second SIGTERM ends it at once.

    \b
      embedkit train quickstart --out runs/first
      embedkit train sup/simcse data.sources.0.path=nli.tsv --out runs/nli --nproc 4
      embedkit train my.yaml train.learning_rate=3e-5 --out runs/three --seeds 3
      embedkit train my.yaml --out runs/first --resume
    """
    go_offline(offline)
    from embedkit.recipe.load import LoadedStages, load_any

    given = overrides or []
    loaded = load_any(recipe, given)
    parts = loaded.parts if isinstance(loaded, LoadedStages) else (loaded,)
    first = os.environ.get("RANK", "0") == "0" and LAUNCHED not in os.environ
    if first:
        coming = _refuse_early(loaded, max(nproc, int(os.environ.get("WORLD_SIZE", "1"))))
    arguments = [recipe, *given, *(["--offline"] if offline else []), *(["--nproc", str(nproc)] if nproc > 1 else [])]
    if first and seeds == 1:
        _check_folder(out, resume)
        say(f"{recipe}: {coming}")
    try:
        if seeds > 1:
            from embedkit.cli.seeds import train_seeds

            train_seeds(parts[0], arguments, out, seeds, resume=resume)
        elif nproc > 1 and "RANK" not in os.environ:
            from embedkit.cli.launch import launch

            launch([recipe, *given, "--out", str(out), *(["--resume"] if resume else [])], nproc)
        else:
            from embedkit import run

            run.train(loaded.staged if isinstance(loaded, LoadedStages) else loaded.recipe, out, resume=resume, say=say)
    except KeyboardInterrupt as error:
        name = getattr(error, "signal", None)
        if first:
            several = ["--seeds", str(seeds)] if seeds > 1 else []
            again = shlex.join(["embedkit", "train", *arguments, *several, "--out", str(out), "--resume"])
            say("", stderr=True)
            say(f"{_how_far(out, name)}; to go on: {again}", stderr=True)
        raise typer.Exit(INTERRUPTED if name is None else STOPPED) from error


def _how_far(out: Path, name: str | None) -> str:
    """What is whole after an interruption by Ctrl-C, or by a signal of that name."""
    from embedkit.disk.folders import RunFolder

    newest = RunFolder(out).newest_checkpoint
    whole = "nothing was trained yet" if newest is None else f"{newest.name} is whole"
    if any(out.glob("seed-*")):
        whole = "finished runs stay as they are"
    return "interrupted" if name is None else f"stopped by {name}; {whole}"


def _check_folder(out: Path, resume: bool) -> None:
    """A run overwrites nothing that was trained: its folder is new, empty, that of a run which failed before its first
    checkpoint, or that of the run to resume."""
    from embedkit.disk import files
    from embedkit.disk.folders import RunFolder

    if files.is_empty(out):
        return
    if not (out / "recipe.yaml").is_file():
        raise EmbedkitError("is not empty and holds no run of embedkit", str(out), "choose another --out")
    if not resume and RunFolder(out).trained:
        raise EmbedkitError("holds a run already", str(out), "add --resume to go on with it, or choose another --out")


def _refuse_early(loaded: Loaded | LoadedStages, nproc: int) -> str:
    """Refuse with file and line before anything is loaded or started, else give the plan in one line; the run plans
    again with the real data."""
    from embedkit.recipe.load import LoadedStages
    from embedkit.recipe.plan import plan
    from embedkit.recipe.planning.words import in_short
    from embedkit.recipe.reading.stages import naming

    if isinstance(loaded, LoadedStages):
        for step, part in zip(loaded.staged.steps, loaded.parts, strict=True):
            if step.merge is None:
                with naming(step.name):
                    plan(part.recipe, processes=nproc, where=part.where).refuse()
        return f"{len(loaded.parts)} stages: {', '.join(step.name for step in loaded.staged.steps)}"
    made = plan(loaded.recipe, processes=nproc, where=loaded.where)
    made.refuse()
    return in_short(made)
