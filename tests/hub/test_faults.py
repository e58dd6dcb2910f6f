"""What goes wrong on the way: each ends in an error with what, where and cure, loses nothing, and tells no token."""

from __future__ import annotations

import json
import logging
import resource
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import constants

from embedkit.errors import EmbedkitError, WriteError
from embedkit.publish.probes import Probes
from embedkit.run.publishing import Published
from tests.hub.conftest import REPO, TOKEN
from tests.hub.server import Hub
from tests.hub.test_publish import MODEL

Push = Callable[..., Published]
WEIGHTS = "PUT /store"


@pytest.fixture(autouse=True)
def no_token_anywhere(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, said: list[str], tmp_path: Path
) -> Iterator[None]:
    """Whatever a test does: the token is in nothing that was said, logged or written."""
    caplog.set_level(logging.DEBUG)
    yield
    out, err = capfd.readouterr()
    assert TOKEN not in out + err + caplog.text + "\n".join(said)
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert TOKEN.encode() not in path.read_bytes(), path


def failing(go: Push, /, **options: object) -> EmbedkitError:
    """The error that a push ends in; neither it nor its traceback tells the token."""
    with pytest.raises(EmbedkitError) as caught:
        go(**options)
    assert TOKEN not in "".join(traceback.format_exception(caught.value))
    assert caught.value.what and caught.value.where and caught.value.cure and caught.value.exit_code == 1
    return caught.value


def is_there(hub: Hub) -> bool:
    return set(hub.files(REPO)) >= MODEL


@pytest.mark.parametrize("status", [503, 0], ids=["503", "lost connection"])
def test_a_fault_in_the_middle_of_the_weights_is_tried_again(push: Push, hub: Hub, status: int) -> None:
    hub.fail(WEIGHTS, status, after=50_000)
    push()
    assert is_there(hub) and hub.asked(WEIGHTS) >= 2


def test_a_connection_that_stays_lost(push: Push, hub: Hub) -> None:
    hub.fail(WEIGHTS, 0, times=99, after=1000)
    error = failing(push)
    assert "the push failed: no connection to http://127.0.0.1" in error.what
    assert "nothing is half there" in error.cure and f"{REPO} --push" in error.cure
    assert not is_there(hub)
    hub.faults.clear()
    push()
    assert is_there(hub)


def test_what_has_arrived_is_not_sent_again(push: Push, hub: Hub) -> None:
    hub.fail("POST .*/commit/", 502, times=1, words="bad gateway")
    error = failing(push)
    assert "the Hub failed (502: bad gateway)" in error.what and not is_there(hub)
    hub.requests.clear()
    push()
    assert is_there(hub) and hub.asked(WEIGHTS) == 0


def test_an_answer_that_was_lost_after_the_commit(push: Push, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.hub.server import _Handler

    whole = _Handler._send

    def lost(self: _Handler, status: int, value: object, headers: dict[str, str] | None = None) -> None:
        whole(self, status, value, headers) if "/commit/" not in self.path else self._drop()

    with monkeypatch.context() as patch:
        patch.setattr(_Handler, "_send", lost)
        failing(push)
    assert is_there(hub), "the commit was made"
    assert push().unchanged and len(hub.repos[REPO].commits) == 2


def test_a_wrong_token(push: Push, hub: Hub) -> None:
    hub.tokens.clear()
    error = failing(push)
    assert "does not know the token (401" in error.what and "hf auth login" in error.cure
    assert hub.repos == {}


def test_no_token(push: Push, hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
    assert failing(push).what == "there is no token for the Hub" and hub.requests == []
    assert push(push=False).files, "a look needs none"


def test_no_right_to_write(push: Push, hub: Hub) -> None:
    hub.tokens[TOKEN] = ("ann", {"team"})
    error = failing(push)
    assert "no right to write to ann/syllables (403: You don't have the rights" in error.what
    assert "may write for ann" in error.cure and hub.repos == {}


def test_another_model_is_there(push: Push, hub: Hub) -> None:
    hub.add(REPO, {"model.safetensors": b"x" * 20_000})
    error = failing(push)
    assert error.what == "another model is there" and "--overwrite" in error.cure and "--pr" in error.cure
    assert hub.files(REPO)["model.safetensors"] == b"x" * 20_000
    push(overwrite=True)
    assert is_there(hub)


@pytest.mark.slow
def test_an_empty_place_and_one_with_a_text_are_no_other_model(push: Push, hub: Hub) -> None:
    hub.add(REPO, {"README.md": b"# soon"})
    push()
    assert is_there(hub)


def test_a_public_place_is_not_taken_for_a_private_one(push: Push, hub: Hub) -> None:
    hub.add(REPO, private=False)
    error = failing(push)
    assert "is there and public" in error.what and not is_there(hub)
    push(private=False)
    assert is_there(hub)


def test_somebody_pushes_meanwhile(push: Push, hub: Hub) -> None:
    hub.add(REPO)

    def other(line: str) -> None:
        if "preupload" in line:
            hub.before = None
            hub.repos[REPO].commit({"theirs.txt": b"1"}, "theirs", "main")

    hub.before = other
    error = failing(push)
    assert "something else was pushed there meanwhile (412" in error.what
    assert hub.files(REPO) == {"theirs.txt": b"1"}


def test_metadata_that_the_hub_does_not_take(push: Push, hub: Hub, run: Path, said: list[str]) -> None:
    readme = run / "model" / "README.md"
    text = readme.read_text(encoding="utf-8").replace("license: cc-by-4.0", "license: cc-by-9.9")
    readme.unlink()
    readme.write_text(text)
    assert push(push=False).problems == ['"license" must be one of [apache-2.0, cc-by-4.0, mit, other]']
    error = failing(push)
    assert "does not take the card's metadata" in error.what and '"license" must be' in str(error)
    assert hub.repos == {}


def test_a_hub_that_is_switched_off(push: Push, hub: Hub, monkeypatch: pytest.MonkeyPatch, said: list[str]) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE forbids the Hub" in failing(push).what
    said.clear()
    assert push(push=False).problems is None and any("the Hub was not asked" in line for line in said)


def test_a_full_disk_on_the_way_back(push: Push, hub: Hub) -> None:
    most = resource.getrlimit(resource.RLIMIT_FSIZE)

    def full(line: str) -> None:
        if line.startswith("GET") and "/resolve/" in line and line.endswith("model.safetensors"):
            resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, most[1]))

    hub.before = full
    try:
        error = failing(push)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, most)
    assert (
        isinstance(error, WriteError)
        and "could not be read back: the file is larger than the system allows" in error.what
    )
    assert "the push is whole" in error.cure and "--push" in error.cure and is_there(hub)
    hub.before = None
    assert push().unchanged


def test_other_bytes_on_the_way_back(push: Push, hub: Hub) -> None:
    def other(line: str) -> None:
        if line.startswith("HEAD"):
            hub.before = None
            for oid, content in hub.store.items():
                hub.store[oid] = bytes([content[0] ^ 1]) + content[1:]

    hub.before = other
    assert "came back as another file" in failing(push).what


@pytest.mark.parametrize("name", ["model.safetensors", "config_sentence_transformers.json", "1_Pooling/config.json"])
def test_a_model_that_is_not_the_one_of_the_run(push: Push, hub: Hub, run: Path, name: str) -> None:
    file = run / "model" / name
    content = file.read_bytes()
    file.unlink()
    file.write_bytes(content[:-2] + bytes([content[-2] ^ 1]) + content[-1:])
    error = failing(push, push=False)
    assert f"not as the run saved them: {name}" in error.what and "--resume" in error.cure


def test_files_that_give_other_embeddings(push: Push, run: Path) -> None:
    found = Probes.read(run / "probes.npz")
    assert found is not None
    (run / "probes.npz").unlink()
    moved = {role: values + np.float32(0.01) * np.abs(values).max() for role, values in found.embeddings.items()}
    Probes(found.texts, moved, found.hashes).write(run / "probes.npz")
    error = failing(push, push=False)
    assert "gives other embeddings than when it was saved (difference 0.0" in error.what


def settings(run: Path, **more: object) -> None:
    """Put keys into the model's config.json, and take it for what the run saved."""
    file = run / "model" / "config.json"
    text = json.dumps(json.loads(file.read_text()) | more)
    file.unlink()
    file.write_text(text)
    (run / "probes.npz").unlink()


def test_where_a_model_came_from_is_no_ones_business(push: Push, hub: Hub, run: Path) -> None:
    settings(run, _name_or_path="/srv/client-x/base model")
    push()
    assert json.loads(hub.files(REPO)["config.json"])["_name_or_path"] == "base model"
    assert all(b"client-x" not in content for content in hub.files(REPO).values())


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"api_key": "abcd1234efgh5678"}, "config.json: api_key: the value of a secret"),
        ({"teacher": "/srv/client-x/teacher"}, "config.json: teacher: a path"),
        ({"note": f"see {Path.home()}/notes"}, "a path on this machine"),
        ({"note": TOKEN}, "config.json: the token that you log in"),
    ],
)
def test_secrets_and_paths_in_settings_are_refused(
    push: Push, hub: Hub, run: Path, more: dict[str, str], message: str
) -> None:
    settings(run, **more)
    error = failing(push)
    assert "nobody else's business" in error.what and message in str(error) and hub.asked("commit") == 0
    (run / "model" / "config.json").unlink()  # it holds what no file may hold in the end


def test_a_secret_in_the_owners_card(push: Push, hub: Hub, run: Path) -> None:
    readme = run / "model" / "README.md"
    text = readme.read_text(encoding="utf-8")
    readme.unlink()
    readme.write_text(f"{text}\nLook at {run.resolve()}/eval with password=hunter2hunter2\n")
    error = failing(push)
    assert "README.md: line" in str(error) and "a path on this machine" in str(error) and "secret" in str(error)
    assert hub.repos == {}
