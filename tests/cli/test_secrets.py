"""A token pasted into a recipe: said, and left out of everything that is stored or shown; the run goes on with it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from embedkit.foreign.redacting import HIDDEN, PLACEHOLDER
from embedkit.recipe.load import load_recipe, recipe_hash
from tests.cli.conftest import RECIPE, Done

Run = Callable[..., Done]
TOKEN = "hf_" + "aB3dE5fG7h" * 3
OTHER = "hf_" + "zY9xW8vU7t" * 3


@pytest.fixture
def pasted(work: Path) -> Path:
    """A recipe that holds a token in a place that training does not mind."""
    Path("p.yaml").write_text(RECIPE.replace("path: text.txt", f'path: text.txt, name: "texts?token={TOKEN}"'))
    return work


def assert_absent(folder: Path, *done: Done) -> None:
    for one in done:
        assert TOKEN not in one.out + one.err
    looked = [path for path in folder.rglob("*") if path.is_file()]
    assert len(looked) > 10
    for path in looked:
        assert TOKEN.encode() not in path.read_bytes(), path


def test_a_run_stores_and_shows_no_token_and_goes_on(embedkit: Run, pasted: Path) -> None:
    checked = embedkit("check", "p.yaml", "--sample", "5")
    assert checked.code == 0
    warning = checked.out.split("warning")[1]
    assert "p.yaml:3: data.sources.0.name: holds what looks like a Hugging Face token" in warning
    assert "$HF_TOKEN" in warning
    arguments = ("train", "p.yaml", "train.save_every=2")
    done = embedkit(*arguments, "--out", "run")
    assert done.code == 0, done.err
    assert "looks like a Hugging Face token" in done.out
    assert_absent(Path("run"), checked, done)

    stored = Path("run/recipe.yaml").read_text()
    record = json.loads(Path("run/run.json").read_text())
    assert f"texts?token={PLACEHOLDER}" in stored and PLACEHOLDER in record["recipe"]["data"]["sources"][0]["name"]
    assert Path("run/checkpoints/checkpoint-4/embedkit/recipe.yaml").read_text() == stored
    assert recipe_hash(load_recipe("run/recipe.yaml")) == record["recipe_hash"]
    assert f"hash {record['recipe_hash']}" in embedkit("check", "p.yaml", "train.save_every=2").out
    assert HIDDEN in Path("run/report/report.md").read_text().replace("\\", "")

    again = embedkit(*arguments, "--out", "run", "--resume")
    assert again.code == 0 and "resuming from update 4" in again.out, again.err
    Path("q.yaml").write_text(Path("p.yaml").read_text().replace(TOKEN, OTHER))
    renewed = embedkit("train", "q.yaml", "train.save_every=2", "--out", "run", "--resume")
    assert renewed.code == 0, "a renewed token is no other recipe"
    assert_absent(Path("run"), again, renewed)
    other = embedkit("train", "p.yaml", "train.save_every=2", "data.sources.0.name=else", "--out", "run", "--resume")
    assert other.code == 1 and "another recipe" in other.err


def test_a_stored_recipe_asks_for_the_secret_again(embedkit: Run, pasted: Path) -> None:
    Path("stored.yaml").write_text(embedkit("recipes", "show", "p.yaml", "--full").out)
    assert TOKEN not in Path("stored.yaml").read_text()
    for command in (("check", "stored.yaml"), ("train", "stored.yaml", "--out", "run")):
        done = embedkit(*command)
        assert done.code == 2 and "data.sources.0.name: a secret was left out here" in done.err
        assert "`data.sources.0.name=...`" in done.err
    given = f"data.sources.0.name=texts?token={TOKEN}"
    assert embedkit("check", "stored.yaml", given).code == 0


def test_recipes_are_shown_without_secrets_comments_included(embedkit: Run, work: Path) -> None:
    Path("s.yaml").write_text(
        f"# made with {TOKEN}\ndata: {{sources: [{{path: text.txt}}]}}\n"
        "objective:\n  name: st\n  loss: X\n  arguments:\n    api_keys:\n      - first one\n      - 'second two'\n"
        "    password: correct horse battery\n"
    )
    done = embedkit("recipes", "show", "s.yaml")
    assert done.code == 0
    for secret in (TOKEN, "first one", "second two", "correct horse"):
        assert secret not in done.out
    assert done.out.count(HIDDEN) == 4 and "- 'text.txt" not in done.out and "path: text.txt" in done.out


@pytest.mark.parametrize(
    "override",
    [
        f"train.sede={TOKEN}",
        f"train.seed={TOKEN}",
        f"{TOKEN}=1",
        f"model.base=https://me:{TOKEN}@host/x/y/z",
        f"data.sources.0.path=https://host/x?key={TOKEN}",
        f"eval.suite=https://host/x?sig={TOKEN}",
        f"objective={{name: infonce, token: {TOKEN}}}",
    ],
)
def test_errors_say_no_token(embedkit: Run, work: Path, override: str) -> None:
    for command in (("check", "r.yaml", override), ("train", "r.yaml", override, "--out", "run")):
        done = embedkit(*command)
        assert TOKEN not in done.out + done.err


def test_an_interrupted_run_is_told_to_go_on_without_the_token(
    embedkit: Run, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from embedkit import run

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "train", interrupted)
    done = embedkit("train", "r.yaml", f"data.sources.0.name={TOKEN}", "--out", "run")
    assert done.code == 130 and "to go on: embedkit train r.yaml" in done.err and TOKEN not in done.err


def test_scores_hold_no_token(embedkit: Run, work: Path) -> None:
    task = {"type": "sts", "name": f"see {TOKEN}", "files": ["sts.tsv"]}
    Path("s.yaml").write_text(json.dumps({"name": f"https://h/?key={TOKEN}", "tasks": [task]}))
    done = embedkit("eval", "tiny", "--suite", "s.yaml", "--out", "scores", "--compare", "tiny")
    assert done.code == 0, done.err
    assert HIDDEN in done.out and TOKEN not in done.out + done.err
    stored = [path for path in Path("scores").rglob("*") if path.is_file()]
    assert len(stored) == 4
    for path in stored:
        assert TOKEN.encode() not in path.read_bytes(), path
    assert json.loads(Path("scores/scores.json").read_text())["tasks"][0]["task"] == f"see {HIDDEN}"


def test_tracebacks_are_cleaned_with_their_causes(embedkit: Run, work: Path) -> None:
    """The Hub's library says in its own error which id it was given, and the traceback has that as the cause."""
    done = embedkit("--debug", "eval", f"x?token={TOKEN} y", "--suite", "suite.yaml")
    assert done.code == 2 and "HFValidationError" in done.err and "direct cause" in done.err
    assert HIDDEN in done.err and TOKEN not in done.out + done.err


@pytest.mark.parametrize("debug", [(), ("--debug",)])
def test_an_error_that_nobody_foresaw_is_cleaned(
    embedkit: Run, work: Path, monkeypatch: pytest.MonkeyPatch, debug: tuple[str, ...]
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        try:
            raise ValueError(f"\x1b[2Jpassword={TOKEN}")
        except ValueError as error:
            raise RuntimeError(f"with {TOKEN}\x07 inside") from error

    monkeypatch.setattr("embedkit.run.evaluating.evaluate", fail)
    done = embedkit(*debug, "eval", "tiny", "--suite", "suite.yaml")
    assert done.code == 1 and "Traceback" in done.err and "RuntimeError: with" in done.err
    assert "\\x1b[2J" in done.err and "\x1b[2J" not in done.err and "\x07" not in done.err
    assert TOKEN not in done.out + done.err
