"""``embedkit report``: of one run, and of several."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Done, embedkit  # noqa: F401
from tests.publish import records

Run = Callable[..., Done]


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with ``a`` and ``b``; of the plots they have none, for speed."""
    for i, name in enumerate("ab"):
        made = records.record(curve=[], evaluations=[], timings={})
        made.recipe["train"]["learning_rate"] = (i + 1) * 1e-5
        records.kept(tmp_path / name, made, seed=i)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path


def test_several_runs_make_one_page(embedkit: Run, runs: Path) -> None:  # noqa: F811
    done = embedkit("report", "a", "b")
    assert (done.code, done.err) == (0, "")
    sentence, *lines = done.out.splitlines()
    assert sentence.startswith("Whether b is better than a cannot be told from this data: the average of 3 tasks")
    assert lines[-1] == "report: comparison/index.html" and Path("comparison/index.html").is_file()
    assert any(line.split()[:2] == ["B", "b"] and line.split()[-1] == "unclear" for line in lines)
    assert not Path("a/report").exists()


def test_json_is_all_of_stdout(embedkit: Run, runs: Path) -> None:  # noqa: F811
    done = embedkit("report", "a", "b", "--out", "both", "--json")
    found = json.loads(done.out)
    assert (done.code, done.err, found["report"]) == (0, "", "both/index.html")
    assert found["comparisons"][0]["verdict"] == "UNCLEAR" and [run["name"] for run in found["runs"]] == ["a", "b"]
    assert found["recipes"] == {"train.learning_rate": {"A": 1e-5, "B": 2e-5}}
    one = json.loads(embedkit("report", "b", "--json").out)
    assert (one["report"], one["comparisons"], one["recipes"]) == ("b/report/index.html", [], {})
    assert one["runs"] == [{**found["runs"][1], "run": "A"}]


def test_what_is_refused_has_its_exit_code(embedkit: Run, runs: Path) -> None:  # noqa: F811
    assert embedkit("report").code == 2
    done = embedkit("report", "a", "--out", "there")
    assert done.code == 2 and "--out: the report of one run stands in its folder" in done.err
    done = embedkit("report", "a", "./a")
    assert done.code == 2 and "the same run is given twice, as a and a" in done.err
    done = embedkit("report", "a", "nowhere")
    assert done.code == 1 and "nowhere/run.json: no run record here" in done.err
    done = embedkit("report", "a", "b", "--out", "a")
    assert done.code == 1 and "a: holds something else than a comparison" in done.err
    Path("b/eval/after/scores.json").write_text("[]")
    done = embedkit("report", "a", "b")
    assert done.code == 3 and "not the scores of an evaluation" in done.err
    assert not Path("comparison").exists() and not Path("there").exists()
