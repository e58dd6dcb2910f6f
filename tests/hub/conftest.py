from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants
from huggingface_hub.utils import close_session

from embedkit.run.publishing import Published, publish
from tests.hub.server import Hub
from tests.publish.conftest import trained  # noqa: F401

TOKEN = "hf_" + "aB3dE5gH7j" * 3
REPO = "ann/syllables"


@pytest.fixture(autouse=True)
def online(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The client may speak, by the way of large files; it waits no seconds between its tries."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    close_session()
    yield
    close_session()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A Hub that knows `TOKEN` as that of ann."""
    with Hub() as made:
        made.tokens[TOKEN] = ("ann", {"ann", "team"})
        monkeypatch.setattr(constants, "ENDPOINT", made.url)  # what HF_ENDPOINT sets, which is read at import
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", made.url + "/{repo_id}/resolve/{revision}/{filename}"
        )
        yield made


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:  # noqa: F811
    """A run's folder of one's own; weights are links."""
    return copied(trained, tmp_path / "run")


def copied(folder: Path, target: Path) -> Path:
    return Path(shutil.copytree(folder, target, copy_function=os.link))


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def push(hub: Hub, run: Path, said: list[str]) -> Callable[..., Published]:
    """Publish the run."""

    def go(to: str = REPO, *, push: bool = True, **options: Any) -> Published:
        return publish(run, to, push=push, device="cpu", say=lambda line: said.append(str(line)), **options)

    return go
