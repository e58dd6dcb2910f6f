"""Last stage: what came out is measured, compared, recorded and reported."""

from __future__ import annotations

from dataclasses import asdict

from embedkit.disk import files
from embedkit.disk.folders import RunFolder
from embedkit.evaluation import suite as suites
from embedkit.foreign import showing
from embedkit.model.running.reranker import Trained
from embedkit.model.running.towers import Pair
from embedkit.publish import card, insight
from embedkit.publish.facts import ModelFacts
from embedkit.publish.mined import waited
from embedkit.publish.places import near
from embedkit.publish.report import render_report, summary_table
from embedkit.recipe.load import dump
from embedkit.run import forecast, lengths, measure
from embedkit.run.environment import now
from embedkit.run.state import Run, Say
from embedkit.train.trainer import Trainer
from embedkit.types import RunRecord, Scores

logger = showing.logger(__name__)


def finish(
    run: Run, trainer: Trainer, encoder: Trained | Pair, before: Scores | None, error: Exception | None = None
) -> None:
    """Measure the result and compare it, write record and report; the model is on disk already.

    What fails here, or failed since the training (`error`), costs neither record nor report: the record is finished
    with the reason, the report is written, and then the error goes on its way. ``--resume`` does what is missing.
    """
    run.record.scores_before = suites.plain(before) if before else None
    run.record.scores_after, run.record.comparison = None, []
    try:
        measure_result(run, trainer, encoder, before)
    except Exception as caught:
        error = error or caught
    if error is not None:
        run.record.failed = f"after training: {type(error).__name__}: {error}"
    if run.first:
        if error is None:
            _write_insight(run, encoder, before)
        _write(run)
    if error is not None:
        raise error


def measure_result(run: Run, trainer: Trainer, encoder: Trained | Pair, before: Scores | None) -> None:
    """Scores of the result, and what changed."""
    updates = trainer.state.global_step
    run.measuring.masked_lm(trainer.engine.auxiliaries, run.record, updates, run.say)
    after = measure.scored(run, encoder, "after")
    run.after = after
    run.record.scores_after = suites.plain(after) if after else None
    if before and after:
        compared = suites.compare(before, after, resamples=run.recipe.eval.resamples)
        run.record.comparison = [asdict(c) for c in compared]


def _write_insight(run: Run, encoder: Trained | Pair, before: Scores | None) -> None:
    """What the report shows besides the scores; without it everything else is as good."""
    try:
        suite = run.recipe.eval.suite
        data = run.measuring.data(suite)[1] if suite is not None else []
        insight.write_insight(run.folder.root, insight.gather(before, run.after, data, lengths.lengths(run, encoder)))
    except Exception as error:
        logger.exception("what changed could not be gathered")
        run.record.warnings.append(f"what changed could not be gathered: {error}")


def write_card(folder: RunFolder, record: RunRecord, recipe: str, say: Say) -> None:
    """The model's card, and the record that says of it; without it the model is as good."""
    name = near(folder.model)
    try:
        facts = ModelFacts.of_record(record.model)
        made = card.sheet(facts, name, folder.root.name, record, recipe, folder.root)
        written = card.write(made, folder.model)
        record.model["card"] = {"name": name, "sha256": files.sha256(written)}
    except Exception as error:  # the record and the weights are written
        logger.exception("the model's card could not be written")
        record.warnings.append(f"the model's card could not be written: {error}")
        say(f"warning      {record.warnings[-1]}")
    folder.write_record(record)


def write_report(folder: RunFolder, record: RunRecord, say: Say) -> None:
    """The report; one that fails must not lose a run, whose record and weights are written."""
    try:
        say(f"report: {render_report(folder, record)}")
    except Exception as error:
        logger.exception("the report could not be written")
        record.warnings.append(f"the report could not be written: {error}")
        folder.write_record(record)


def _write(run: Run) -> None:
    record = run.record
    record.finished = now()
    took = forecast.beside(run)
    if record.mining:
        run.say(waited(record))
    run.write_record()
    write_report(run.folder, record, run.say)
    write_card(run.folder, record, dump(run.recipe), run.say)
    measured = record.scores_before or record.scores_after
    if measured or not record.failed:
        run.say(summary_table(record) if measured else "not measured: the recipe has no eval.suite")
    run.say(f"model: {run.folder.model}")
    if took:
        run.say(took)
