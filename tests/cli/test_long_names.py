"""Names that no system and no Hub can have: an error in a line, never a traceback."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Done

Run = Callable[..., Done]
LONG = "n" * 5000


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["check", LONG], "no such recipe"),
        (["recipes", "show", LONG], "no such recipe"),
        (["train", "r.yaml", "--out", LONG], "the name is too long for the file system"),
        (["check", "r.yaml", f"model.base={LONG}"], "must have at most 1,000 characters"),
        (["check", "r.yaml", f"model.base={'n' * 500}"], "is no folder, and the Hub has no such ids"),
        (["check", "r.yaml", "model.base=two words"], "'two words' is no folder, and the Hub has no such ids"),
        (["eval", LONG, "--suite", "suite.yaml"], "is no folder, and the Hub has no such ids"),
        (["eval", f"./{LONG[:500]}", "--suite", "suite.yaml"], "there is no folder"),
        (["eval", "tiny", "--suite", LONG], "no such suite"),
        (["eval", "tiny", "--suite", f"mini:{LONG}"], "suite 'mini' has no task"),
        (["whiten", "tiny", "--text", LONG, "--out", "o"], "path: must have at most 1,000 characters"),
        (["whiten", "tiny", "--text", LONG[:500], "--out", "o"], "no such file"),
        (["debias", "--text", LONG, "--out", "o.jsonl"], "path: must have at most 1,000 characters"),
        (["synth", "claif", "--text", LONG, "--out", "o.jsonl", "--dry-run"], "path: must have at most"),
    ],
)
def test_names_of_thousands_of_characters(embedkit: Run, work: Path, arguments: list[str], what: str) -> None:
    done = embedkit(*arguments)
    assert done.code in (1, 2, 3)
    assert what in done.err and "Traceback" not in done.err
    assert len(done.err) < 1000


@pytest.mark.parametrize("arguments", [["train", "r.yaml", "--seeds", "3", "--out", "o"], ["check", "r.yaml"]])
def test_seeds_end_where_generators_end(embedkit: Run, work: Path, arguments: list[str]) -> None:
    last = 2**32 - 1
    done = embedkit(*arguments, f"train.seed={last + ('check' in arguments)}")
    assert done.code == 2
    assert f"{last}" in done.err and "override train.seed=" in done.err
    assert not Path("o").exists()


@pytest.mark.parametrize("verb", [["eval", "tiny", "--suite", "suite.yaml"], ["synth", "claif", "--out", "o.jsonl"]])
def test_seeds_of_other_verbs_end_there_too(embedkit: Run, work: Path, verb: list[str]) -> None:
    done = embedkit(*verb, "--seed", str(2**32))
    assert done.code == 2
    assert "'--seed': Input should be less than or equal to 4294967295" in " ".join(done.err.split())
