"""What is measured before and after training."""

from __future__ import annotations

from embedkit.evaluation import suite as suites
from embedkit.model.running.reranker import Trained
from embedkit.model.running.towers import Pair
from embedkit.run.state import Run
from embedkit.train.trainer import Trainer
from embedkit.types import Scores


def before(run: Run, encoder: Trained, trainer: Trainer) -> Scores | None:
    """What training starts from: the suite's scores, and the masked-LM loss where the recipe asks for it."""
    run.record.evaluations = []
    scores = scored(run, encoder, "before") if run.recipe.eval.before else None
    run.write_record()
    run.record.warnings += [w for auxiliary in trainer.engine.auxiliaries for w in auxiliary.warnings]
    run.measuring.masked_lm(trainer.engine.auxiliaries, run.record, 0, run.say)
    return scores


def scored(run: Run, encoder: Trained | Pair, when: str) -> Scores | None:
    """Evaluate on process 0, or read what an interrupted start of the same run measured already."""
    with run.timed(f"evaluation {when}"):
        try:
            return _scored(run, encoder, when) if run.first else None
        finally:
            run.comm.barrier()


def _scored(run: Run, encoder: Trained | Pair, when: str) -> Scores | None:
    config, target = run.recipe.eval, run.folder.scores(when)
    if config.suite is None:
        return None
    same = run.known is not None and run.known.inputs == run.record.inputs
    if when == "before" and same and (target / suites.SCORES).is_file():
        return suites.load_scores(target)
    name = f"{run.recipe.model.base} {when} training"
    results = suites.Results(str(run.folder.root), folder=target / "mteb")
    scores = run.measuring.score(encoder, config.suite, name, config.resamples, run.progress, results)
    for task, why in scores.failed.items():
        run.record.warnings.append(f"{task} was not measured {when} training: {why}")
        run.say(f"warning      {run.record.warnings[-1]}")
    suites.write_scores(scores, target)
    return scores
