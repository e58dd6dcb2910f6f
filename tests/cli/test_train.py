"""``embedkit train`` and ``embedkit eval``: real runs of a tiny model."""

from __future__ import annotations

import getpass
import json
import os
import re
import signal
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from embedkit.cli.launch import _culprit, _first, _stopped
from embedkit.cli.seeds import spread, summary
from embedkit.types import RunRecord
from tests.cli.conftest import Done, spawn
from tests.workers import PATIENCE, wait_until

Run = Callable[..., Done]


def test_a_run_in_one_process_and_its_folder(embedkit: Run, work: Path) -> None:
    done = embedkit("train", "r.yaml", "train.steps=2", "--out", "run", "--offline")
    assert done.code == 0, done.err
    assert "8 examples x 2 texts = 16 texts per batch" in done.out
    record = json.loads(Path("run/run.json").read_text())
    assert record["recipe"]["train"]["steps"] == 2
    assert record["finished"]
    assert Path("run/model/modules.json").is_file()

    again = embedkit("train", "r.yaml", "train.steps=2", "--out", "run")
    assert again.code == 1
    assert again.err.startswith("run: holds a run already\n  cure: add --resume")

    scores = embedkit(
        "eval", "run/model", "--suite", "suite.yaml", "--out", "scores", "--resamples", "100", "--compare", "tiny"
    )
    assert scores.code == 0, scores.err
    written = json.loads(Path("scores/scores.json").read_text())
    assert written["tasks"][0]["metrics"]["spearman"] == pytest.approx(
        record["scores_after"]["tasks"][0]["metrics"]["spearman"], abs=1e-6
    )
    assert Path("scores/compare/scores.json").is_file()


def test_a_run_says_what_is_coming_then_how_long_and_then_how_long_it_was(
    embedkit: Run, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from embedkit.run import forecast
    from embedkit.train import rate

    monkeypatch.setattr(forecast, "SHORT", 0.0)
    monkeypatch.setattr(rate, "QUICK", 0.0)
    done = embedkit("train", "r.yaml", "train.steps=3", "eval.every=2", "--out", "run")
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert lines[0].startswith("r.yaml: 3 updates of 8 examples, evaluation before, during and after; how long")
    (said,) = [line for line in lines if line.startswith("forecast ")]
    short = "less than 10 s"
    parts = rf"3 updates of \d\.\d s: {short}, evaluation: {short}"
    assert re.fullmatch(rf"forecast     {short} \(measured here; {parts}\)", said)
    told = json.loads(Path("run/run.json").read_text())["forecast"]
    assert told["seconds"] == pytest.approx(told["training"] + told["evaluation"], abs=0.11)
    assert told["actual"] > 0
    assert re.fullmatch(r"took \d\.\d s, the forecast was less than 10 s", lines[-1])
    assert "foreseen before training: less than 10 s, it took" in Path("run/report/report.md").read_text()


def test_a_run_of_seconds_spends_no_time_on_a_forecast(embedkit: Run, work: Path) -> None:
    done = embedkit("train", "r.yaml", "train.steps=1", "--out", "run")
    assert "forecast     less than 10 s" in done.out.splitlines()
    assert json.loads(Path("run/run.json").read_text())["forecast"] == {}
    assert not any(line.startswith("took ") for line in done.out.splitlines())


def test_an_evaluation_says_how_long_it_will_take_and_took(
    embedkit: Run, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from embedkit.evaluation import forecast

    quick = embedkit("eval", "tiny", "--suite", "suite.yaml", "--resamples", "100")
    assert quick.code == 0 and "forecast" not in quick.out and "measured on" not in quick.out
    monkeypatch.setattr(forecast, "SHORT", 0.0)
    monkeypatch.setattr("embedkit.evaluation.kept.cache_folder", lambda what: work / "empty" / what)  # encodes again
    lines = embedkit("eval", "tiny", "--suite", "suite.yaml", "--resamples", "100").out.splitlines()
    assert re.fullmatch(r"tiny: less than 10 s for 3\d texts \(\S+ a second, measured on \d+ of them\)", lines[0])
    assert re.fullmatch(r"took \d+\.\d s, the forecast was less than 10 s", lines[1])


def test_what_a_run_writes_for_others_names_no_place_of_this_machine(
    embedkit: Run, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    private = {str(work), str(work.resolve()), str(Path.home()), f"/{getpass.getuser()}/"}
    elsewhere = ["model.base=" + str(work / "tiny"), "data.sources.0.path=" + str(work / "text.txt"), "train.steps=1"]
    (work / "here").mkdir()
    monkeypatch.chdir(work / "here")
    assert embedkit("train", "../r.yaml", *elsewhere, "--out", str(work / "a")).code == 0
    assert embedkit("train", "../r.yaml", "train.steps=1", "--out", str(work / "b")).code == 0
    shared = [*work.glob("[ab]/report/*"), work / "b" / "run.json", work / "b" / "recipe.yaml"]
    assert len(shared) >= 2 * 4 + 2
    for file in shared:
        text = file.read_text(encoding="utf-8")
        assert not [place for place in private if place in text], file
    assert "…/tiny with infonce" in (work / "a" / "report" / "report.md").read_text(encoding="utf-8")


def test_a_run_that_failed_before_training_may_be_started_again(embedkit: Run, work: Path) -> None:
    """What cannot be built says so before anything is evaluated, and its folder is not lost."""
    guided = ["train", "r.yaml", "train.steps=1", "objective={name: infonce, guide: absolute}", "--out", "run"]
    failed = embedkit(*guided, "guide.model=nowhere", "--offline")
    assert failed.code == 2 and failed.err.startswith("guide.model: cannot find the model 'nowhere'")
    assert "Encoding" not in failed.out and not Path("run/eval").exists()
    done = embedkit(*guided, "guide.model=tiny", "--offline")
    assert done.code == 0, done.err


def test_foreign_folders_are_never_written_to(embedkit: Run, work: Path) -> None:
    Path("mine").mkdir()
    Path("mine/notes.txt").write_text("x")
    for extra in ([], ["--resume"]):
        done = embedkit("train", "r.yaml", "--out", "mine", *extra)
        assert done.code == 1
        assert "holds no run of embedkit" in done.err
    assert embedkit("train", "r.yaml", "--out", "r.yaml").code == 1
    assert embedkit("train", "r.yaml", "--out", "mine", "--seeds", "2").code == 1
    assert [p.name for p in Path("mine").iterdir()] == ["notes.txt"]


def test_refusals_come_before_any_process_is_started(embedkit: Run, work: Path) -> None:
    done = embedkit("train", "r.yaml", "train.batch_size=9", "--out", "run", "--nproc", "2")
    assert done.code == 2
    assert "9 is over all processes and does not divide by 2" in done.err
    done = embedkit("train", "r.yaml", "objective=cosent", "--out", "run", "--seeds", "2")
    assert done.code == 2
    assert done.err.startswith("r.yaml:3: data.sources.0: objective cosent needs")
    assert not Path("run").exists()


def test_wrong_data_exits_3(embedkit: Run, work: Path) -> None:
    Path("bad.txt").write_text("a b\n\nc d\n" * 20)
    done = embedkit("train", "r.yaml", "data.sources.0.path=bad.txt", "--out", "run")
    assert done.code == 3
    assert "bad.txt:2: empty line" in done.err
    nowhere = embedkit("eval", "tiny", "--suite", "suite.yaml", "--data", "nowhere")
    assert nowhere.code == 3 and nowhere.err.startswith("nowhere: there is no such folder")
    Path("lost.yaml").write_text("tasks: [{type: sts, name: A, files: [lost.tsv]}]\n")
    assert embedkit("eval", "tiny", "--suite", "lost.yaml").code == 3
    assert embedkit("eval", "tiny", "--suite", "nonsense").code == 2


def test_the_process_with_a_reason_of_its_own_is_blamed() -> None:
    assert _culprit({0: 3, 1: 1}) == 0
    assert _culprit({0: 1, 1: 3}) == 1
    assert _culprit({0: -15, 1: 1}) == 1
    assert _culprit({0: 1, 1: -15}) == 0
    assert _culprit({0: 143, 1: -9}) == _culprit({0: 1, 1: -9}) == 1
    assert _culprit({0: 143, 1: 1}) == 1
    assert _first({0: (107, 143), 1: (100, -9), 2: (131, -9)}) == {0: 143, 1: -9}


def test_processes_are_stopped_where_somebody_asked_and_none_failed() -> None:
    assert _stopped([143, 143], None) and _stopped([-15, 143], None)
    assert not _stopped([143, -9], None) and not _stopped([143, 1], None) and not _stopped([-15], None)
    assert _stopped([143, -9], 15) and not _stopped([143, 1], 15)


def test_spread_over_seeds() -> None:
    def record(before: float, after: float) -> RunRecord:
        def scores(value: float) -> dict[str, object]:
            return {"tasks": [{"task": "A", "main": "m", "metrics": {"m": value, "n": 2 * value}}], "average": value}

        return RunRecord("", {}, scores_before=scores(before), scores_after=scores(after))

    found = summary({7: record(10, 11), 8: record(10, 13)})
    assert found["seeds"] == [7, 8]
    assert [(row["task"], row["metric"], row["main"]) for row in found["metrics"]] == [
        ("A", "m", True),
        ("A", "n", False),
    ]
    assert found["metrics"][1]["after"] == {"mean": 24, "sd": pytest.approx(2 * 2**0.5), "values": [22, 26]}
    assert found["metrics"][1]["change"]["values"] == [2, 6]
    rows = [re.split(r" {2,}", line.strip()) for line in str(spread(found)).splitlines()]
    assert ["task", "metric", "before", "after", "change"] in rows
    assert ["A", "m", "10.00 ± 0.00", "12.00 ± 1.41", "+2.00 ± 1.41"] in rows
    alone = spread(summary({7: replace(record(1, 2), scores_before=None)}))
    assert ["A", "m", "-", "2.00", "-"] in [line.split() for line in str(alone).splitlines()]


@pytest.mark.dist
@pytest.mark.slow
def test_the_exit_code_of_a_child_comes_through(work: Path) -> None:
    Path("bad.txt").write_text("a b\n\nc d\n" * 20)
    child = spawn("train", "r.yaml", "data.sources.0.path=bad.txt", "--out", "run", "--nproc", "2")
    _, err = child.communicate(timeout=PATIENCE)
    assert child.returncode == 3, err
    assert "bad.txt:2: empty line" in err
    assert "Traceback" not in err, "the other process's loss of its peer must not bury the reason"


@pytest.mark.slow
@pytest.mark.dist
def test_two_processes_train_what_one_does(work: Path) -> None:
    lines = Path("text.txt").read_text().splitlines()
    rows = [{"query": q, "positive": p} for q, p in zip(lines, reversed(lines), strict=True)]
    Path("pairs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    records = []
    for processes in ("1", "2"):
        overrides = ("model.dropout=0.0", "objective.temperature=1", "data.sources.0.path=pairs.jsonl")
        child = spawn("train", "r.yaml", *overrides, "--out", f"n{processes}", "--nproc", processes)
        _, err = child.communicate(timeout=PATIENCE)
        assert child.returncode == 0, err
        records.append(json.loads(Path(f"n{processes}/run.json").read_text()))
    one, two = ([step["loss"] for step in record["curve"]] for record in records)
    assert len(one) == 4
    assert two == pytest.approx(one, abs=1e-4)


@pytest.mark.slow
@pytest.mark.dist
def test_seeds_are_separate_runs_and_finished_ones_stay(work: Path) -> None:
    command = ("train", "r.yaml", "train.steps=2", "--out", "all", "--seeds", "2")
    child = spawn(*command)
    out, err = child.communicate(timeout=PATIENCE)
    assert child.returncode == 0, err
    assert "2 seeds: mean ± standard deviation" in out
    records = [json.loads(Path(f"all/seed-{s}/run.json").read_text()) for s in (42, 43)]
    assert [record["seed"] for record in records] == [42, 43]
    written = json.loads(Path("all/summary.json").read_text())
    main = next(row for row in written["metrics"] if row["main"])
    ends = [record["scores_after"]["tasks"][0]["metrics"][main["metric"]] for record in records]
    assert (written["seeds"], main["after"]["values"]) == ([42, 43], ends)
    assert main["after"]["mean"] == pytest.approx(sum(ends) / 2)
    assert main["after"]["sd"] == pytest.approx(abs(ends[0] - ends[1]) / 2**0.5)
    before = {p: p.stat().st_mtime_ns for p in Path("all").rglob("*") if p.is_file()}
    again = spawn(*command, "--resume")
    out, err = again.communicate(timeout=PATIENCE)
    assert again.returncode == 0, err
    assert "2 seeds: mean ± standard deviation" in out
    assert {p: p.stat().st_mtime_ns for p in Path("all").rglob("*") if p.is_file()} == before


@pytest.mark.slow
@pytest.mark.dist
@pytest.mark.parametrize("processes", ["1", "2"])
def test_an_interrupt_exits_130_and_says_how_to_go_on(work: Path, processes: str) -> None:
    child = spawn("train", "r.yaml", "train.steps=100000", "train.save_every=20", "--out", "run", "--nproc", processes)
    wait_until(lambda: bool(list(Path("run/checkpoints").glob("checkpoint-*"))), child)
    os.killpg(child.pid, signal.SIGINT)
    try:
        _, err = child.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        raise
    assert child.returncode == 130, err
    again = "embedkit train r.yaml train.steps=100000 train.save_every=20"
    assert f"interrupted; to go on: {again}" in err
    assert "--out run --resume" in err
    assert "Traceback" not in err
