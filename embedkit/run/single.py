"""One training: the stages in their order."""

from __future__ import annotations

from pathlib import Path

from embedkit.recipe.schema import Recipe
from embedkit.run import build, data, finish, fit, forecast, inputs, measure, planning, publishing, save, start
from embedkit.run.state import Say
from embedkit.types import RunRecord


def train_one(
    recipe: Recipe,
    out: str | Path,
    *,
    resume: bool,
    recipe_path: Path | None,
    say: Say,
    progress: bool,
) -> RunRecord:
    """`embedkit.train` of a recipe without stages."""
    with start.begun(recipe, Path(out), resume, recipe_path, say, progress) as run:
        data.load(run)
        planning.announce(run)
        if run.first:
            publishing.ready(run.recipe.publish, run.folder.root, run.say)
        with run.timed("model"):
            encoder = build.encoder_of(run)
            trainer = build.trainer_of(run, encoder)  # before any evaluation: what cannot be built says so at once
            run.measuring.check(encoder)
        inputs.compare(run, resume)
        forecast.announce(run, encoder, trainer, resume)
        before = measure.before(run, encoder, trainer)
        fit.fit(run, trainer, resume)
        result, error = fit.result(run, trainer, encoder)
        save.save(run, trainer, result)
        finish.finish(run, trainer, result, before, error)
        if run.first:
            publishing.step(run.recipe.publish, run.folder, run.record, run.recipe.train.device, run.say)
        return run.record
