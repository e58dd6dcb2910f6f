"""What a person watches while training runs."""

from __future__ import annotations

import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments


class ProgressBar(TrainerCallback):
    """One bar over the updates, with the loss, the learning rate and tokens per second; evaluations as lines.

    Where the output is not a terminal, a line per logging step is printed instead.
    """

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)
        self.bar: Progress | None = None
        self._task: Any = None
        self._since = time.perf_counter()

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._since = time.perf_counter()
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
        now = time.perf_counter()
        rate = logs.get("tokens", 0.0) / max(1e-9, now - self._since)
        self._since = now
        status = f"loss {logs['loss']:.4f}  lr {logs['learning_rate']:.1e}  {rate:,.0f} tokens/s"
        if self.bar is not None:
            self.bar.update(self._task, status=status)
        else:
            self.console.print(f"step {state.global_step}/{state.max_steps}  {status}", highlight=False)

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
            console = self.bar.console if self.bar is not None else self.console
            best = state.best_metric
            mark = "  (best so far)" if best is None or metrics[name] > best else f"  (best {best:.2f})"
            console.print(f"step {state.global_step}: {name[5:]} {metrics[name]:.2f}{mark}", highlight=False)
        self._since = time.perf_counter()

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self.bar is not None:
            self.bar.stop()
            self.bar = None
