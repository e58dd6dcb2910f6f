"""How long the run will take, said before anything long starts, and at the end beside what it took."""

from __future__ import annotations

import time

from embedkit.evaluation.forecast import SHORT
from embedkit.model.running.encoder import Encoder
from embedkit.model.running.reranker import Trained
from embedkit.model.running.towers import candidates
from embedkit.run import mining
from embedkit.run.state import Run
from embedkit.terminal.times import about, duration
from embedkit.train import checkpoint, rate
from embedkit.train.trainer import Trainer


def announce(run: Run, encoder: Trained, trainer: Trainer, resume: bool) -> None:
    """Measure what an update and an evaluation take, and say what follows from it. All processes call it together."""
    if not run.forecasts:
        return
    steps = trainer.pipeline.sampler.steps
    found = checkpoint.find_checkpoints(run.folder.checkpoints) if resume else []
    done = checkpoint.step_of(found[-1]) if found else 0
    updates = steps - done
    with run.timed("forecast"):
        measured = rate.measure(trainer, updates)
        training = 0.0 if measured is None else updates * measured.seconds
        if not run.first:
            return
        searches = 0.0
        if trainer.negatives is not None and isinstance(encoder, Encoder):
            searches = mining.foresee(trainer.negatives, encoder, done)
        evaluation = _evaluations(run, encoder, done, steps)
    run.clock = time.perf_counter()
    whole = training + searches + evaluation
    if whole < SHORT:
        run.say(f"{'forecast':<13}{about(whole)}")
        return
    run.record.forecast = {
        "seconds": round(whole, 1),
        "training": round(training + searches, 1),
        "evaluation": round(evaluation, 1),
    }
    parts = [] if measured is None else [f"{updates:,} updates of {duration(measured.seconds)}: {about(training)}"]
    if searches:
        parts.append(f"searches for negatives: {about(searches)}")
    if evaluation:
        parts.append(f"evaluation: {about(evaluation)}")
    limit = " at most" if run.recipe.eval.patience else ""
    run.say(f"{'forecast':<13}{about(whole)}{limit} (measured here; {', '.join(parts)})")


def beside(run: Run) -> str:
    """What the run took beside what was foreseen; empty without a forecast."""
    if not run.record.forecast:
        return ""
    run.record.forecast["actual"] = round(time.perf_counter() - run.clock, 1)
    return words(run.record.forecast)


def words(forecast: dict[str, float]) -> str:
    """``took 4 min 02 s, the forecast was about 4 min``."""
    return f"took {duration(forecast['actual'])}, the forecast was {about(forecast['seconds'])}"


def _evaluations(run: Run, encoder: Trained, done: int, steps: int) -> float:
    """Seconds of all evaluations that are still to come, and of the comparison at the end."""
    config, measuring, seconds = run.recipe.eval, run.measuring, 0.0
    if config.suite is not None:
        once = measuring.foresee(encoder, config.suite, config.resamples)
        before = config.before and not (run.folder.scores("before") / "scores.json").is_file()
        seconds += once.seconds * (1 + before) + 2 * once.statistics * config.before
    reference = config.during or config.suite
    if config.every is not None and reference is not None:
        once = measuring.foresee(encoder, reference, 0)
        towers = 1
        if isinstance(encoder, Encoder):
            towers = len(candidates(encoder, run.recipe.model.keep_tower, evaluated=True))
        times = len({*range(config.every, steps, config.every), steps} - {*range(done + 1)})
        chosen = towers > 1  # both are measured once more at the end, to keep one
        seconds += once.seconds * towers * (times + chosen)
    return seconds
