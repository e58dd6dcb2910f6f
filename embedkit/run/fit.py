"""The training itself, from the newest whole checkpoint where the run goes on."""

from __future__ import annotations

import signal

from embedkit.model.running.encoder import Encoder
from embedkit.model.running.reranker import Trained
from embedkit.model.running.towers import Pair
from embedkit.run import data, energy
from embedkit.run.state import Run
from embedkit.train import checkpoint
from embedkit.train.stopping import Stopped
from embedkit.train.trainer import Trainer


def fit(run: Run, trainer: Trainer, resume: bool) -> None:
    """Train to the end, and record what happened on the way, also where that end is not reached.

    Raises:
        Stopped: the system asked for it; the checkpoint is written.
    """
    if run.first:
        checkpoint.discard_staging(run.folder.checkpoints)
    run.comm.barrier()
    found = checkpoint.find_checkpoints(run.folder.checkpoints) if resume else []
    if found:
        step = checkpoint.step_of(found[-1])
        run.say(f"resuming from update {step}")
        run.record.resumed_from.append(step)
    try:
        counted = energy.metered(run.comm, trainer.args.device, run.record.energy)
        with run.timed("training"), run.stopping.later(), counted:
            trainer.train(resume_from_checkpoint=str(found[-1]) if found else None)
    finally:
        if trainer.negatives is not None:
            trainer.negatives.close()
        _record(run, trainer)
    if trainer.flow.stopped:
        raise Stopped(run.stopping.asked or signal.SIGTERM)


def _record(run: Run, trainer: Trainer) -> None:
    data.record(run)
    history = trainer.state.log_history
    run.record.updates = trainer.state.global_step
    run.record.curve = [h for h in history if "loss" in h]
    run.record.evaluations += [h for h in history if any(k.startswith("eval_") for k in h)]
    if trainer.guards.masked_at is not None:
        run.record.warnings.append(f"all negatives of the batch of step {trainer.guards.masked_at} were masked")
    if trainer.guards.collapsed_at is not None:
        run.record.warnings.append(f"the embeddings began to collapse at step {trainer.guards.collapsed_at}")


def result(run: Run, trainer: Trainer, encoder: Trained) -> tuple[Trained | Pair, Exception | None]:
    """The model that the run gives: of the best evaluation where the recipe keeps it, and one of two towers.

    Returns:
        The model, and why the better tower is not known where measuring them failed: the first is given then, to be
        written before the error goes on its way. The checkpoint has both, and ``--resume`` measures them again.
    """
    if run.recipe.eval.every is not None and run.recipe.eval.keep == "best":
        run.record.best_step = trainer.load_best()
    if run.recipe.model.towers < 2 or not run.first or not isinstance(encoder, Encoder):
        return encoder, None
    error: Exception | None = None
    kept: Encoder | Pair
    try:
        kept, which = run.measuring.kept_tower(encoder)
    except Exception as caught:
        kept, error = encoder.tower(0), caught
        which = "the first of two towers is kept: which is better could not be measured"
    run.record.warnings.append(which)
    return kept, error
