"""What a person watches while training runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from embedkit.foreign.showing import shown
from embedkit.terminal.output import console as terminal
from embedkit.train.boundary import QUERY_COSINE
from embedkit.types import LOGGED

EVERY = 30.0
"""Seconds between two lines."""
FEW = 8
"""Values of the objective that a line holds at most; those of one with more are in ``run.json`` and the report."""


class ProgressBar(TrainerCallback):
    """Updates done, as a bar in a terminal; a line with the values every half minute, there and in a log.

    A line holds loss, learning rate, real tokens per second and, where they are few, the objective's own values. The
    first and the last logged values always get a line, evaluations too.

    Args:
        console: where; stderr by default.
        clock: gives seconds.
    """

    def __init__(self, console: Console | None = None, clock: Callable[[], float] = time.perf_counter) -> None:
        self.console, self._clock = console or terminal(stderr=True), clock
        self.bar: Progress | None = None
        self._task: Any = None
        self._since = self._logged = clock()
        self._said: float | None = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._since, self._said = self._clock(), None
        if self.console.is_terminal:
            self.bar = Progress(
                TextColumn("[bold]training"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[status]}"),
                console=self.console,
            )
            self.bar.start()
            self._task = self.bar.add_task("training", total=state.max_steps, completed=state.global_step, status="")

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if self.bar is not None:
            self.bar.update(self._task, completed=state.global_step)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        if not logs or "loss" not in logs:
            return
        now = self._clock()
        rate = logs.get("tokens", 0.0) / max(1e-9, now - self._since)
        self._since = now
        if self.bar is not None:
            self.bar.update(self._task, status=f"loss {logs['loss']:.4f}")
        last = state.global_step >= state.max_steps
        if self._said is None or last or now - self._said >= EVERY:
            self._said = now
            line = f"loss {logs['loss']:.4f}  lr {logs['learning_rate']:.1e}  {rate:,.0f} tokens/s{_values(logs)}"
            self._print(f"update {state.global_step}/{state.max_steps}  {line}")

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        name = args.metric_for_best_model
        if metrics and name in metrics:
            best = state.best_metric
            mark = "  (best so far)" if best is None or metrics[name] > best else f"  (best {best:.2f})"
            self._print(f"update {state.global_step}: {shown(name[5:])} {metrics[name]:.2f}{mark}")
        self._since = self._clock()

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self.bar is not None:
            self.bar.stop()
            self.bar = None

    def _print(self, line: str) -> None:
        console = self.bar.console if self.bar is not None else self.console
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _values(logs: dict[str, float]) -> str:
    """The objective's own values where they are few, with two spaces in front of each."""
    own = {name: value for name, value in logs.items() if name not in LOGGED and name != QUERY_COSINE}
    return "".join(f"  {name} {value:.4g}" for name, value in own.items()) if len(own) <= FEW else ""


class AfterUpdate(TrainerCallback):
    """Calls something after every optimiser step, before a checkpoint is written.

    Args:
        call: what.
    """

    def __init__(self, call: Callable[[], None]) -> None:
        self.call = call

    def on_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.call()
