"""When the loop logs, evaluates, saves and stops: functions of the trainer's state, so a resumed run does the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import IntervalStrategy


class Flow(TrainerCallback):
    """Added to what transformers does by itself: the last update is evaluated too; there is a logged line at every
    evaluation, checkpoint and end, so that none of them cuts a line in two; `patience`; stopping from outside.

    Args:
        patience: stop after this many evaluations without improvement; None never does.
        asked: whether any process was asked to stop; called once an update, by all of them.

    Attributes:
        stopped: whether that was why the training ended.
    """

    def __init__(self, patience: int | None, asked: Callable[[], bool]) -> None:
        self.patience, self.asked = patience, asked
        self.stopped = False

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        if due(args, state):
            control.should_evaluate = True
        if self.asked():
            self.stop(control)
        if control.should_evaluate or control.should_save or control.should_training_stop:
            control.should_log = True
        return control

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        if patience_ended(args, state, self.patience):
            control.should_training_stop = True
        return control

    def stop(self, control: TrainerControl) -> None:
        """End after this update, with a checkpoint; an evaluation that is due is left to the resumed run."""
        self.stopped = True
        control.should_evaluate = False
        control.should_training_stop = control.should_save = True


def due(args: TrainingArguments, state: TrainerState) -> bool:
    """Whether the model as it is now is still to be evaluated: every `eval_steps`, and after the last update."""
    if args.eval_strategy != IntervalStrategy.STEPS or state.global_step == 0:
        return False
    step = state.global_step
    return (step % args.eval_steps == 0 or step >= args.max_steps) and step not in dict(evaluations(args, state))


def finished(args: TrainingArguments, state: TrainerState, patience: int | None) -> bool:
    """Whether no update is left to be done."""
    return state.global_step >= args.max_steps or patience_ended(args, state, patience)


def patience_ended(args: TrainingArguments, state: TrainerState, patience: int | None) -> bool:
    """Whether the last `patience` evaluations were no better than the best before them."""
    values = [value for _, value in evaluations(args, state)]
    return patience is not None and bool(values) and len(values) - 1 - values.index(max(values)) >= patience


def evaluations(args: TrainingArguments, state: TrainerState) -> list[tuple[int, float]]:
    """(update, selected metric) of every evaluation so far."""
    name = args.metric_for_best_model
    return [(line["step"], line[name]) for line in state.log_history if name in line]
