from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest

from embedkit.errors import RecipeError
from embedkit.recipe.load import load_recipe

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write a recipe into the working folder, so that messages name it by its bare name."""
    monkeypatch.chdir(tmp_path)

    def write(text: str, name: str = "r.yaml") -> Path:
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text).lstrip("\n"), encoding="utf-8")
        return path

    return write


@pytest.fixture
def refused(write: Write) -> Callable[..., str]:
    """The message with which a recipe is refused."""

    def refused(text: str, *overrides: str) -> str:
        with pytest.raises(RecipeError) as caught:
            load_recipe(write(text), overrides)
        assert caught.value.exit_code == 2
        return str(caught.value)

    return refused


DATA = "data: {sources: [{path: pairs.jsonl}]}\n"
"""The least a recipe must say, on one line."""
