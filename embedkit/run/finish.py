"""Last stage: comparison, record, report."""

from __future__ import annotations

from dataclasses import asdict

from embedkit import showing
from embedkit.evaluation import suite as suites
from embedkit.publish.report import render_report, summary_table
from embedkit.run import forecast
from embedkit.run.environment import now
from embedkit.run.state import Run
from embedkit.types import Scores

logger = showing.logger(__name__)


def finish(run: Run, before: Scores | None, after: Scores | None) -> None:
    if not run.first:
        return
    record = run.record
    record.scores_before = suites.plain(before) if before else None
    record.scores_after = suites.plain(after) if after else None
    if before and after:
        compared = suites.compare(before, after, resamples=run.recipe.eval.resamples, seed=run.recipe.train.seed)
        record.comparison = [asdict(c) for c in compared]
    record.finished = now()
    took = forecast.beside(run)
    run.write_record()
    try:
        page = render_report(run.folder, record)
        run.say(f"report: {page}")
    except Exception as error:  # a report that fails must not lose a run; the record and the weights are written
        logger.exception("the report could not be written")
        record.warnings.append(f"the report could not be written: {error}")
        run.write_record()
    run.say(summary_table(record) if before or after else "not measured: the recipe has no eval.suite")
    run.say(f"model: {run.folder.model}")
    if took:
        run.say(took)
