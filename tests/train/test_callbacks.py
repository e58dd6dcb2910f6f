"""What training shows: a line every half minute with the objective's values, no flood in a log."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from embedkit.recipe.schema import Recipe
from embedkit.train.boundary import QUERY_COSINE
from embedkit.train.callbacks import EVERY, FEW, ProgressBar
from embedkit.types import LOGGED
from tests.tiny import tiny_bert
from tests.train.runs import recipe, trainer


class Watched:
    """A progress bar with a clock of its own, fed as the trainer feeds it."""

    def __init__(self, *, terminal: bool = False, steps: int = 100, every: int = 1) -> None:
        self.now, self.out = 0.0, io.StringIO()
        console = Console(file=self.out, force_terminal=terminal, width=80, color_system=None)
        self.bar = ProgressBar(console, lambda: self.now)
        self.args: Any = SimpleNamespace(logging_steps=every, metric_for_best_model="eval_average")
        self.state: Any = SimpleNamespace(global_step=0, max_steps=steps, best_metric=None)
        self.bar.on_train_begin(self.args, self.state, Any)

    def log(self, step: int, seconds: float, **logs: float) -> None:
        self.now += seconds
        self.state.global_step = step
        self.bar.on_step_end(self.args, self.state, Any)
        self.bar.on_log(self.args, self.state, Any, {"loss": 0.5, "learning_rate": 1e-5, "tokens": 1000.0, **logs})

    @property
    def lines(self) -> list[str]:
        return self.out.getvalue().splitlines()


def test_a_log_gets_the_first_line_one_every_half_minute_and_the_last() -> None:
    watched = Watched(steps=100)
    for step in range(1, 101):
        watched.log(step, 2.0)
    steps = [int(line.split()[1].split("/")[0]) for line in watched.lines]
    assert steps == [1, *range(1 + int(EVERY / 2), 100, int(EVERY / 2)), 100]
    assert watched.lines[0] == "update 1/100  loss 0.5000  lr 1.0e-05  500 tokens/s"


def test_the_last_logged_values_get_a_line_where_the_steps_do_not_divide() -> None:
    watched = Watched(steps=25, every=10)
    for step in (1, 10, 20, 25):
        watched.log(step, 1.0)
    assert [line.split()[1] for line in watched.lines] == ["1/25", "25/25"]


def test_a_line_holds_the_objective_s_own_values_and_no_others() -> None:
    watched = Watched()
    watched.log(1, 1.0, effective_rank=52.25, masked=0.03125, grad_norm=2.0, epoch=0.1, padding=0.0, query_cosine=0.4)
    assert watched.lines[0].endswith("1,000 tokens/s  effective_rank 52.25  masked 0.03125")


def test_a_real_run_s_lines_hold_what_its_objective_gave(tmp_path: Path) -> None:
    out = io.StringIO()
    bar = ProgressBar(Console(file=out, force_terminal=False, width=80))
    made = recipe(tiny_bert(tmp_path / "base"), steps=1)
    pairs = {"sources": [source.model_dump() for source in made.data.sources[:1]]}
    trained = trainer(Recipe.model_validate({**made.model_dump(), "data": pairs}), tmp_path / "run", callbacks=[bar])
    given = trained.engine(trained.pipeline.batch(0, 0)).metrics.keys() - {QUERY_COSINE}
    trained.train()
    (line,) = out.getvalue().splitlines()
    start, *values = line.split("  ")[1:]
    assert start.startswith("loss ")
    assert {value.split()[0] for value in values[2:]} == given != set()
    logged = next(log for log in trained.state.log_history if "loss" in log)
    assert logged.keys() - LOGGED == given | {QUERY_COSINE}  # what the report draws


def test_more_values_than_a_line_holds_are_left_to_the_record() -> None:
    watched = Watched()
    watched.log(1, 1.0, **{f"value_{i}": 1.0 for i in range(FEW + 1)})
    assert watched.lines[0].endswith("1,000 tokens/s")


def test_an_evaluation_is_a_line_and_its_time_no_part_of_the_rate() -> None:
    watched = Watched()
    watched.log(1, 1.0)
    watched.now += 100
    watched.bar.on_evaluate(watched.args, watched.state, Any, {"eval_average": 48.184})
    watched.state.best_metric = 48.184
    watched.log(2, 2.0)
    watched.bar.on_evaluate(watched.args, watched.state, Any, {"eval_average": 47.0})
    assert watched.lines[1:] == [
        "update 1: average 48.18  (best so far)",
        "update 2/100  loss 0.5000  lr 1.0e-05  500 tokens/s",
        "update 2: average 47.00  (best 48.18)",
    ]


@pytest.mark.parametrize("terminal", [True, False])
def test_only_a_terminal_gets_a_bar(terminal: bool) -> None:
    watched = Watched(terminal=terminal)
    watched.log(7, 1.0)
    watched.bar.on_train_end(watched.args, watched.state, Any)
    text = watched.out.getvalue()
    assert ("7/100" in text.replace("update 7/100", "")) == terminal
    assert ("\x1b[" in text) == terminal
    assert "update 7/100  loss 0.5000" in text
