"""The benchmark against the package setfit: its draws, what it says without the package, and one side of it."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import setfit as benchmark
from benchmarks.common import Numbers
from embedkit.synthesis.endpoint import Endpoint
from tests.synthesis.server import serving
from tests.tiny import sentences, tiny_bert

SCRIPT = Path(benchmark.__file__)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for part, count in (("train", 24), ("test", 12)):
        rows = [f"class {i % 3}\t{text}" for i, text in enumerate(sentences(count, seed=len(part)))]
        (tmp_path / f"toy-{part}.tsv").write_text("label\ttext\n" + "\n".join(rows) + "\n", encoding="utf-8")
    return tmp_path


def made(folder: Path) -> argparse.Namespace:
    options = ["--data", str(folder), "--sets", "toy", "--shots", "4,2", "--draws", "3", "--test", "10", "--steps", "2"]
    return benchmark.options().parse_args(options)


def test_both_sides_get_the_same_texts_of_each_class(folder: Path) -> None:
    jobs = benchmark.jobs(made(folder), "toy", "work")
    assert [shots for shots, _, _ in jobs] == [2, 2, 2, 4, 4, 4]
    for shots, job, right in jobs:
        assert np.bincount(job["labels"]).tolist() == [shots] * 3 and len(job["test"]) == len(right) == 10
    first, second = jobs[0][1], jobs[1][1]
    assert first["texts"] != second["texts"] and set(first["texts"]) <= set(jobs[3][1]["texts"])


def test_a_side_without_the_package_says_how_to_get_it(folder: Path) -> None:
    if importlib.util.find_spec("setfit") is not None:
        pytest.skip("setfit is installed here")
    worker = benchmark.Worker("setfit", sys.executable, str(folder), 1)
    with pytest.raises(SystemExit, match=r"the package setfit is not there: .* -m pip install setfit"):
        worker(benchmark.jobs(made(folder), "toy", "work")[0][1])


def test_a_set_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"has no toy-train.tsv"):
        benchmark.read(tmp_path, "toy", "train")


def test_a_comparison_of_more_draws_runs_those_that_it_lacks(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[int] = []

    def worker(job: dict[str, Any]) -> tuple[tuple[float, float], np.ndarray]:
        asked.append(job["seed"])
        return (1.0, 0.5), np.zeros(10, int)

    totals = []
    for draws in ("2", "3", "3"):
        options = ["--data", str(folder), "--sets", "toy", "--shots", "2", "--draws", draws, "--test", "10"]
        numbers = Numbers(tmp_path / "numbers.json", {"base": "b", "test": 10, "steps": None})
        found = benchmark.compare(
            benchmark.options().parse_args(options), {"embedkit": worker, "setfit": worker}, "work", numbers
        )
        totals.append(found["setfit"].tolist())
    assert sorted(asked) == [0, 0, 1, 1, 2, 2]
    assert totals == [[2.0, 1.0], [3.0, 1.5], [3.0, 1.5]]
    lines = capsys.readouterr().out.splitlines()
    args = benchmark.options().parse_args([*options, "--generator", "models/writer"])
    benchmark.compare(args, {"paraphrase": worker}, "work", numbers)
    assert "toy 2 paraphrase (writer)" in numbers.runs  # another writer's draws are others
    assert lines[-3:] == lines[-6:-3] and "embedkit - setfit      0.00 [  0.00,   0.00]" in lines[-1]


@pytest.mark.slow
def test_embedkits_side_learns_and_answers(folder: Path, tmp_path: Path) -> None:
    base = tiny_bert(tmp_path / "base", positions=160)
    (_, job, right), *_ = benchmark.jobs(made(folder), "toy", str(tmp_path / "work"))
    worker = benchmark.Worker("embedkit", sys.executable, str(base), 1)
    (clock, processor), answers = worker(job)
    worker.close()
    assert clock > 0 and processor > 0 and len(answers) == len(right) and set(answers.tolist()) <= {0, 1, 2}
    done = subprocess.run([sys.executable, str(SCRIPT)], capture_output=True, text=True, env=os.environ, check=False)
    assert done.returncode == 1 and "--data names the folder" in done.stderr


@pytest.mark.slow
def test_paraphrases_of_a_language_model_are_trained_on(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, work = tiny_bert(tmp_path / "base", positions=160), tmp_path / "work"
    (_, job, right), *_ = benchmark.jobs(made(folder), "toy", str(work))
    with serving() as server:  # a causal model on this machine would write what is refused, at this size
        monkeypatch.setattr("embedkit.synthesis.local.LocalModel", lambda name, device: Endpoint(server.url, name))
        _, answers = benchmark.fit_paraphrase(str(base), {**job, "generator": "lm"})
    assert len(answers) == len(right)
    rows = [json.loads(line) for line in (work / "paraphrased.jsonl").read_text(encoding="utf-8").splitlines()]
    assert 0 < len(rows) <= len(job["texts"]) and all(row["paraphrase"] != row["text"] for row in rows)


def test_paraphrases_need_who_writes_them(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["setfit.py", "--data", str(folder), "--sides", "paraphrase,untrained"])
    with pytest.raises(SystemExit, match="--generator MODEL"):
        benchmark.main()
