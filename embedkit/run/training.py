"""`train`: one training, or the stages of a recipe that has some."""

from __future__ import annotations

from pathlib import Path

from embedkit.recipe.schema import Recipe
from embedkit.recipe.stages import Staged
from embedkit.run import single, staged
from embedkit.run.state import Say
from embedkit.terminal import output
from embedkit.types import RunRecord


def train(
    recipe: Recipe | Staged,
    out: str | Path,
    *,
    resume: bool = False,
    recipe_path: Path | None = None,
    say: Say = output.say,
    progress: bool = True,
) -> RunRecord:
    """Train, measure and write a run.

    The folder gets ``recipe.yaml`` (every default explicit), ``checkpoints/``, ``model/`` (loads with plain
    ``SentenceTransformer``), ``eval/before`` and ``eval/after``, ``run.json`` and ``report/``.

    Args:
        recipe: what to do; with stages, one run after the other (`embedkit.run.staged`).
        out: the run's folder.
        resume: go on from the newest whole checkpoint in `out`; start anew when there is none.
        recipe_path: paths in the recipe are relative to its folder.
        say: receives lines and rich tables for the terminal (process 0 only).
        progress: show progress bars; say how long the run will take, once that is measured.

    Returns:
        The run record, also written as ``run.json``.

    Raises:
        RecipeError: the plan refuses the recipe.
        EmbedkitError: the recipe publishes, and the Hub refuses; before training, or after it with the run whole.
        DataError: bad data.
        TrainingError: non-finite loss, or the folder holds a run of another recipe or other data.
        BusyError: another process is at work in `out`.
        WriteError: something cannot be written; what is whole, and how to go on.
        Stopped: the system asked the run to stop (SIGTERM, SIGHUP, SIGUSR1); a checkpoint was written first.

    Example:
        >>> from embedkit import load_recipe
        >>> record = train(load_recipe("mine.yaml"), "runs/new", say=lambda line: None, progress=False)
        >>> record.updates, record.failed
        (2, '')
    """
    if isinstance(recipe, Staged):
        return staged.train_stages(recipe, out, resume=resume, say=say, progress=progress)
    return single.train_one(recipe, out, resume=resume, recipe_path=recipe_path, say=say, progress=progress)
