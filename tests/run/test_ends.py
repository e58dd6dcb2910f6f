"""How a run ends: what is on disk, in the record and in the report when something fails or the recipe is another."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from embedkit.disk.locks import hold_folder
from embedkit.errors import BusyError, EmbedkitError, TrainingError
from embedkit.evaluation import stats
from embedkit.evaluation import suite as suites
from embedkit.run import evaluate
from embedkit.run.measuring import Measuring
from embedkit.train.stopping import Stopped
from tests.run.runs import go, material, recipe, record


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return material(tmp_path)


def failing(monkeypatch: pytest.MonkeyPatch, name: str, error: BaseException) -> None:
    """The evaluation called `name` fails."""
    score = Measuring.score

    def fail(self: Measuring, encoder: Any, reference: Any, called: str, *rest: Any, **more: Any) -> Any:
        if name in called:
            raise error
        return score(self, encoder, reference, called, *rest, **more)

    monkeypatch.setattr(Measuring, "score", fail)


def test_a_failing_evaluation_after_training_loses_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        failing(patch, "after training", EmbedkitError("no room"))
        with pytest.raises(EmbedkitError, match="no room"):
            go(folder, recipe(steps=3))
    found = record(folder)
    assert found["failed"] == "after training: EmbedkitError: no room" and found["finished"]
    assert (found["updates"], found["scores_after"], found["comparison"]) == (3, None, [])
    assert found["scores_before"]["tasks"] and len(found["curve"]) >= 2
    assert (folder / "run" / "model" / "modules.json").is_file()
    assert "no room" in (folder / "run" / "report" / "report.md").read_text(encoding="utf-8")
    done = go(folder, recipe(steps=3), resume=True)
    assert (done.failed, done.updates, len(done.comparison)) == ("", 3, 1)


def test_two_towers_that_cannot_be_compared_leave_a_model(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = recipe({"every": 2}, steps=4)
    made = made.model_copy(update={"model": made.model.model_copy(update={"towers": 2})})
    with monkeypatch.context() as patch:
        failing(patch, "step 0", EmbedkitError("no room"))
        with pytest.raises(EmbedkitError, match="no room"):
            go(folder, made)
    found = record(folder)
    assert found["failed"] == "after training: EmbedkitError: no room" and found["finished"]
    assert "the first of two towers is kept: which is better could not be measured" in found["warnings"]
    assert found["scores_after"]["tasks"], "the tower that was written"
    assert "no room" in (folder / "run" / "report" / "report.md").read_text(encoding="utf-8")
    written = evaluate(str(folder / "run" / "model"), str(folder / "suite.yaml"), resamples=0, progress=False)
    assert written.average == pytest.approx(found["scores_after"]["average"], abs=1e-3)
    done = go(folder, made, resume=True)
    assert (done.failed, done.updates) == ("", 4) and any("of two towers is kept (average" in w for w in done.warnings)


def test_a_failing_comparison_keeps_both_scores(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **kwargs: Any) -> Any:
        raise ValueError("other data")

    monkeypatch.setattr(suites, "compare", fail)
    with pytest.raises(ValueError, match="other data"):
        go(folder, recipe(steps=1))
    found = record(folder)
    assert found["failed"] == "after training: ValueError: other data"
    assert found["scores_before"]["average"] and found["scores_after"]["average"]
    report = (folder / "run" / "report" / "report.md").read_text(encoding="utf-8")
    assert f"{found['scores_after']['average']:.2f}" in report


def test_a_failing_evaluation_during_training_is_recorded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = recipe({"every": 2}, steps=4, log_every=1)
    with monkeypatch.context() as patch:
        failing(patch, "step 4", EmbedkitError("gone"))
        with pytest.raises(EmbedkitError, match="gone"):
            go(folder, made)
    found = record(folder)
    assert (found["failed"], found["finished"], found["updates"]) == ("EmbedkitError: gone", "", 4)
    assert [line["step"] for line in found["curve"]] == [1, 2, 3, 4]
    assert [line["step"] for line in found["evaluations"]] == [2]
    done = go(folder, made, resume=True)
    assert [line["step"] for line in done.evaluations] == [2, 4] and done.failed == ""


def test_a_signal_during_the_last_evaluation_ends_at_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    score = Measuring.score

    def stopped(self: Measuring, encoder: Any, reference: Any, called: str, *rest: Any, **more: Any) -> Any:
        if "after" in called:
            os.kill(os.getpid(), signal.SIGTERM)
        return score(self, encoder, reference, called, *rest, **more)

    with monkeypatch.context() as patch:
        patch.setattr(Measuring, "score", stopped)
        with pytest.raises(Stopped):
            go(folder, recipe(steps=2))
    assert record(folder)["failed"] == "stopped by SIGTERM" and record(folder)["updates"] == 2
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert go(folder, recipe(steps=2), resume=True).failed == ""


def test_one_run_at_a_time_in_a_folder(folder: Path) -> None:
    with hold_folder(folder / "run", "training"), pytest.raises(BusyError, match=f"process {os.getpid()} has been"):
        go(folder, recipe())
    assert go(folder, recipe(steps=1)).updates == 1, "the lock is free again"
    assert not [p for p in (folder / "run").iterdir() if p.name.startswith(".embedkit")]


def test_another_recipe_is_refused_with_what_differs_and_the_cure(folder: Path) -> None:
    go(folder, recipe(steps=2, learning_rate=2e-5))
    with pytest.raises(TrainingError) as caught:
        go(folder, recipe(steps=3, learning_rate=2e-5, warmup=0.5), resume=True)
    assert "train.steps was 2, is 3" in caught.value.what and "train.warmup was 0.0, is 0.5" in caught.value.what
    assert "learning_rate" not in caught.value.what
    assert "train.steps=2" in caught.value.cure and "train.warmup=0.0" in caught.value.cure
    (folder / "run" / "recipe.yaml").write_text("cut: [", encoding="utf-8")
    assert go(folder, recipe(steps=2, learning_rate=2e-5), resume=True).failed == "", "the checkpoint knows its recipe"
    assert "cut" not in (folder / "run" / "recipe.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize(("steps", "log_every"), [(3, 10), (12, 10), (5, 1), (18, 7)])
def test_the_report_says_the_updates_that_were_done(folder: Path, steps: int, log_every: int) -> None:
    done = go(folder, recipe({"suite": None}, steps=steps, log_every=log_every))
    assert done.updates == steps
    report = (folder / "run" / "report" / "report.md").read_text(encoding="utf-8")
    assert re.search(rf"batch 8, {steps} updates,", report)


def test_a_run_and_a_later_comparison_see_the_same_draws(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both with their defaults, whatever the seed of the training is."""
    monkeypatch.chdir(folder)
    done = go(folder, recipe({"resamples": 1000}, steps=3, seed=7, learning_rate=3e-3))
    evaluate("run/model", "suite.yaml", out="scores", compare="tiny", say=lambda _: None, progress=False)
    before, after = suites.load_scores(folder / "scores" / "compare"), suites.load_scores(folder / "scores")
    again = suites.compare(before, after)[0].difference
    reported = done.comparison[0]["difference"]
    assert (again.low, again.high) == pytest.approx((reported["low"], reported["high"]), abs=1e-3)
    other = suites.compare(before, after, seed=stats.SEED + 1)[0].difference
    assert abs(other.low - again.low) > 1e-3, "other draws would show"


@pytest.mark.parametrize("asked", [None, True])
def test_a_fixed_order_is_that_of_the_whole_run(
    folder: Path, monkeypatch: pytest.MonkeyPatch, asked: bool | None
) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    seen: set[bool] = set()
    score = Measuring.score

    def noting(self: Measuring, *given: Any, **more: Any) -> Any:
        seen.add(torch.are_deterministic_algorithms_enabled())
        return score(self, *given, **more)

    monkeypatch.setattr(Measuring, "score", noting)
    go(folder, recipe(steps=2, deterministic=asked))
    assert seen == {bool(asked)} and not torch.are_deterministic_algorithms_enabled()
