"""``eval`` with tasks of mteb, from the shell and in a recipe: one process is enough to see the whole way."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Done

Run = Callable[..., Done]
pytest.importorskip("mteb", reason="needs the extra mteb")
SUITE = """\
name: mixed
tasks:
  - {type: sts, name: A, files: [sts.tsv]}
  - {type: mteb, name: Own, data: {kind: sts, files: [sts.tsv]}}
"""


@pytest.fixture
def mixed(work: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(work / "cache"))
    (work / "mixed.yaml").write_text(SUITE)
    return work


def test_a_mixed_suite_is_measured_kept_and_checked(embedkit: Run, mixed: Path) -> None:
    first = embedkit("eval", "tiny", "--suite", "mixed.yaml", "--out", "o", "--resamples", "100")
    assert first.code == 0, first.err
    assert "Own: 40 texts at most, local files" in first.out and "Own: no prompt" in first.out
    fast, own = json.loads(Path("o/scores.json").read_text())["tasks"]
    assert own["metrics"]["main_score"] == pytest.approx(fast["metrics"]["spearman"], abs=1e-4)
    again = json.loads(embedkit("eval", "tiny", "--suite", "mixed.yaml", "--json").out)
    assert again["scores"]["tasks"][1]["details"]["kept"] is True
    submitted = embedkit("eval", "--submit", "o")
    assert submitted.code == 1 and "no task of mteb's" in submitted.err and "publish it" in submitted.err
    compared = embedkit("eval", "tiny", "--suite", "mixed.yaml:Own", "--compare", "tiny")
    assert compared.code == 0 and "VERDICT: UNCLEAR | Own/main_score | " in compared.out
    assert embedkit("eval", "--submit", "nowhere").code == 3


def test_what_is_missing_or_unknown_is_refused(embedkit: Run, mixed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for arguments, what in (
        (("eval", "--suite", "mini"), "MODEL is missing"),
        (("eval", "tiny"), "--suite is missing"),
        (("eval", "tiny", "--suite", "mteb:STS1222"), "did you mean"),
    ):
        done = embedkit(*arguments)
        assert done.code == 2 and what in done.err + done.out, done
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    offline = embedkit("eval", "tiny", "--suite", "mteb:STS12", "--offline")
    assert offline.code == 3 and "datasets--mteb--sts12-sts" in offline.err


def test_a_recipe_measures_it_before_and_after(embedkit: Run, mixed: Path) -> None:
    recipe = (mixed / "r.yaml").read_text()
    start = recipe.index("  suite:")
    (mixed / "r.yaml").write_text(recipe[:start] + "  suite: mixed.yaml\n  resamples: 100\n")
    done = embedkit("train", "r.yaml", "--out", "run")
    assert done.code == 0, done.err
    record = json.loads(Path("run/run.json").read_text())
    before, after = (record[f"scores_{when}"]["tasks"][1] for when in ("before", "after"))
    assert before["details"]["model"] == after["details"]["model"] == "local/run"
    assert before["details"]["revision"] != after["details"]["revision"]
    assert [c["task"] for c in record["comparison"]] == ["A", "Own", "average"]
    assert "Own" in next(Path("run").glob("report/*.md")).read_text()
