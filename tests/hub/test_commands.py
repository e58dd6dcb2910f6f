"""The command line, and a recipe that publishes by itself."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from embedkit.errors import EmbedkitError
from tests.cli.conftest import Done, embedkit  # noqa: F401
from tests.hub.conftest import REPO, TOKEN
from tests.hub.server import Hub
from tests.hub.test_publish import MODEL
from tests.publish.conftest import material
from tests.publish.conftest import run as train

Run = Callable[..., Done]


def test_a_look_then_a_push(embedkit: Run, hub: Hub, run: Path) -> None:  # noqa: F811
    look = embedkit("publish", str(run), REPO)
    assert look.code == 0 and "model.safetensors" in look.out and "nothing was pushed; add --push" in look.out
    assert hub.repos == {}
    done = embedkit("publish", str(run), REPO, "--push", "--public", "--message", "First")
    assert done.code == 0 and f"pushed       {hub.url}/{REPO}" in done.out and "came back" in done.out
    assert not hub.repos[REPO].private and hub.repos[REPO].messages[-1] == "First"
    again = embedkit("publish", str(run / "model"), REPO, "--push", "--public", "--json")
    found = json.loads(again.out)
    assert found["unchanged"] and found["to"] == REPO and set(found["files"]) >= MODEL
    assert TOKEN not in "".join([look.out, look.err, done.out, done.err, again.out, again.err])


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nowhere", REPO], 1, "there is no such folder"),
        (["{run}", "name"], 2, "is no name on the Hub"),
        (["{run}", REPO, "--pr", "--revision", "v2"], 2, "a pull request goes to main"),
        (["{run}/checkpoints", REPO], 1, "holds no model"),
    ],
)
def test_what_cannot_be(embedkit: Run, hub: Hub, run: Path, arguments: list[str], code: int, message: str) -> None:  # noqa: F811
    done = embedkit("publish", *(word.replace("{run}", str(run)) for word in arguments))
    assert done.code == code and message in done.err and "cure:" in done.err and "Traceback" not in done.err


def test_a_refusal_is_no_traceback(embedkit: Run, hub: Hub, run: Path) -> None:  # noqa: F811
    hub.tokens.clear()
    done = embedkit("publish", str(run), REPO, "--push", "--debug")
    assert done.code == 1 and "does not know the token" in done.err and TOKEN not in done.err + done.out


def test_a_checkpoint_is_a_model_without_its_training(embedkit: Run, hub: Hub, run: Path) -> None:  # noqa: F811
    folder = next((run / "checkpoints").glob("checkpoint-*"))
    done = embedkit("publish", str(folder), REPO, "--push")
    assert done.code == 0 and "left out     embedkit/" in done.out
    assert set(hub.files(REPO)) == MODEL | {"README.md", ".gitattributes"}


def test_one_command_trains_measures_and_publishes(hub: Hub, tmp_path: Path) -> None:
    """A model that an auxiliary loss writes to after it is saved, too."""
    folder = material(tmp_path)
    said: list[str] = []
    words = [f"publish.to={REPO}", "publish.message=By recipe", "eval.suite=null", "card.benchmarks=[]"]
    record = train(folder, *words, "auxiliary=[{name: mlm}]", "model.head={keep: true}", said=said)
    files = set(hub.files(REPO))
    assert files >= MODEL | {"2_Dense/config.json", "2_Dense/model.safetensors"}
    assert hub.repos[REPO].private and hub.repos[REPO].messages[-1] == "By recipe"
    stored = json.loads((folder / "run" / "run.json").read_text())
    assert stored["published"] == {"to": REPO, "url": f"{hub.url}/{REPO}", "commit": hub.repos[REPO].refs["main"]}
    assert record.finished and not record.failed and any("came back" in line for line in said)


def test_a_push_that_fails_costs_nothing_of_the_run(hub: Hub, tmp_path: Path) -> None:
    folder = material(tmp_path)
    hub.fail("POST .*/commit/", 500, times=99)
    with pytest.raises(EmbedkitError, match="is trained, but not published: the push failed: the Hub failed") as caught:
        train(folder, f"publish.to={REPO}", "eval.suite=null", "card.benchmarks=[]")
    again = f"embedkit publish {folder / 'run'} {REPO} --push"
    assert again in caught.value.cure and "the run is whole" in caught.value.cure
    stored = json.loads((folder / "run" / "run.json").read_text())
    assert stored["finished"] and stored["failed"].startswith("publishing: ") and stored["published"] == {}
    assert (folder / "run" / "report" / "index.html").is_file()
    hub.faults.clear()
    from embedkit.run import publish

    publish(folder / "run", REPO, push=True, device="cpu", say=lambda line: None)
    assert set(hub.files(REPO)) >= MODEL


def test_a_place_that_would_refuse_is_known_before_training(hub: Hub, tmp_path: Path) -> None:
    folder = material(tmp_path)
    hub.tokens.clear()
    with pytest.raises(EmbedkitError, match="does not know the token"):
        train(folder, f"publish.to={REPO}", "eval.suite=null", "card.benchmarks=[]")
    assert not (folder / "run" / "model").exists() and not (folder / "run" / "checkpoints" / "checkpoint-2").exists()


def test_several_seeds_are_not_pushed_to_one_place(embedkit: Run, hub: Hub, tmp_path: Path) -> None:  # noqa: F811
    folder = material(tmp_path)
    done = embedkit(
        "train", str(folder / "r.yaml"), f"publish.to={REPO}", "--seeds", "2", "--out", str(folder / "runs")
    )
    assert done.code == 2 and "one place" in done.err and "publish=null" in done.err and hub.requests == []


@pytest.mark.slow
def test_a_push_that_was_killed_is_run_again(hub: Hub, run: Path, tmp_path: Path) -> None:
    """In processes of their own, with the environment that a user sets."""
    environ = {
        **os.environ,
        "HF_ENDPOINT": hub.url,
        "HF_TOKEN": TOKEN,
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
    }
    words = [sys.executable, "-m", "embedkit", "publish", str(run), REPO, "--push"]
    first = subprocess.Popen(words, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def kill(line: str) -> None:
        if line.startswith("PUT"):
            hub.before = None
            first.send_signal(signal.SIGKILL)
            first.wait()

    hub.before = kill
    out, err = first.communicate()
    assert first.returncode == -signal.SIGKILL and set(hub.files(REPO)) == {".gitattributes"}
    second = subprocess.run(words, env=environ, capture_output=True, text=True)
    assert second.returncode == 0, second.stderr
    assert "came back" in second.stdout and set(hub.files(REPO)) >= MODEL
    assert TOKEN not in out + err + second.stdout + second.stderr
