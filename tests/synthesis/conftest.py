from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from embedkit.synthesis.prompts import Prompter, load_prompts
from tests.synthesis.causal import tiny_lm
from tests.synthesis.server import Server, serving


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as state:
        yield state


@pytest.fixture(scope="session")
def lm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny causal LM with a chat template."""
    return tiny_lm(tmp_path_factory.mktemp("lm") / "chat")


@pytest.fixture(scope="session")
def terse_lm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with many tokens that end a text."""
    return tiny_lm(tmp_path_factory.mktemp("lm") / "terse", ends=200)


@pytest.fixture(scope="session")
def plain_lm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny causal LM without a chat template."""
    return tiny_lm(tmp_path_factory.mktemp("lm") / "plain", chat=False)


@pytest.fixture(scope="session")
def prompter() -> Prompter:
    """embedkit's own prompts, seed 0."""
    return Prompter(load_prompts(), 0)
