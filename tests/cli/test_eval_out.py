"""``embedkit eval --out``: tried before anything is encoded, and nobody's scores are replaced without being asked."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from embedkit.disk.locks import hold_folder
from embedkit.errors import WriteError
from embedkit.evaluation import suite as suites
from embedkit.model.running.encoder import Encoder
from tests.cli.conftest import Done
from tests.tiny import tiny_bert

Run = Callable[..., Done]
EVAL = ("eval", "tiny", "--suite", "suite.yaml", "--resamples", "100")


@pytest.fixture
def nothing_is_encoded(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise AssertionError("encoded")

    monkeypatch.setattr(Encoder, "encode", fail)


@pytest.mark.usefixtures("nothing_is_encoded")
@pytest.mark.parametrize("out", ["r.yaml", "r.yaml/below"])
def test_a_place_that_cannot_be_written_is_refused_first(embedkit: Run, work: Path, out: str) -> None:
    done = embedkit(*EVAL, "--out", out)
    assert done.code == 1 and out in done.err and "cure: choose another place" in done.err, done.err


@pytest.mark.usefixtures("nothing_is_encoded")
@pytest.mark.parametrize(("data", "what"), [("nowhere", "there is no such folder"), ("r.yaml", "is a file")])
def test_a_data_folder_that_is_none(embedkit: Run, work: Path, data: str, what: str) -> None:
    """The suite's own folder has the files; they are not taken for what was asked."""
    done = embedkit(*EVAL, "--data", data)
    assert done.code == 3 and done.err.startswith(f"{data}: {what}"), done.err
    trained = embedkit("train", "r.yaml", f"eval.data={data}", "--out", "run")
    assert trained.code == 3 and f"{data}: {what}" in trained.err, trained.err


@pytest.mark.usefixtures("nothing_is_encoded")
def test_two_evaluations_in_one_folder(embedkit: Run, work: Path) -> None:
    with hold_folder(Path("scores"), "evaluating"):
        done = embedkit(*EVAL, "--out", "scores")
    assert done.code == 1
    assert f"scores: process {os.getpid()} has been evaluating here since" in done.err


def test_scores_of_another_model_or_suite_stay(embedkit: Run, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_bert("other", seed=5)
    Path("wide.yaml").write_text("name: wide\ntasks: [{type: sts, name: B, files: [sts.tsv]}]\n")
    assert embedkit(*EVAL, "--out", "scores").code == 0
    assert embedkit(*EVAL, "--out", "scores").code == 0, "its own may be replaced"
    kept = Path("scores/scores.json").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(suites, "evaluate_suite", None)  # never reached
        other = embedkit("eval", "other", "--suite", "suite.yaml", "--out", "scores")
        wide = embedkit("eval", "tiny", "--suite", "wide.yaml", "--out", "scores")
        Path("foreign").mkdir()
        Path("foreign/scores.json").write_text("[1]")
        foreign = embedkit(*EVAL, "--out", "foreign")
    assert (other.code, wide.code, foreign.code) == (1, 1, 1)
    assert other.err.startswith("scores/scores.json: holds the scores of another model, tiny\n  cure: choose another")
    assert wide.err.startswith("scores/scores.json: holds the scores on another suite, mine")
    assert foreign.err.startswith("foreign/scores.json: something else is there")
    assert "--overwrite" in other.err and "--overwrite" in wide.err and "--overwrite" in foreign.err
    assert Path("scores/scores.json").read_bytes() == kept
    assert embedkit("eval", "other", "--suite", "suite.yaml", "--out", "scores", "--overwrite").code == 0
    assert Path("scores/scores.json").read_bytes() != kept


def test_scores_of_another_compared_model_stay(embedkit: Run, work: Path) -> None:
    tiny_bert("other", seed=5)
    assert embedkit(*EVAL, "--out", "scores", "--compare", "other").code == 0
    done = embedkit(*EVAL, "--out", "scores", "--compare", "tiny")
    assert done.code == 1 and "scores/compare/scores.json: holds the scores of another model, other" in done.err


def test_the_table_comes_before_the_writing(embedkit: Run, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> None:
        raise WriteError("the disk is full", "scores", "make room on it")

    monkeypatch.setattr(suites, "write_scores", full)
    done = embedkit(*EVAL, "--out", "scores")
    assert done.code == 1 and "the disk is full" in done.err
    assert "spearman" in done.out and " A " in done.out
