"""Engines by name."""

from __future__ import annotations

import importlib.util
from importlib.machinery import ModuleSpec

import pytest

from embedkit.errors import EmbedkitError, RecipeError
from embedkit.spread.engines import pool_of


def test_local_is_no_pool_and_others_are_refused() -> None:
    with pool_of("local") as pool:
        assert pool is None
    with pytest.raises(RecipeError, match="there is no 'rya'") as caught, pool_of("rya"):
        pass
    assert caught.value.where == "--engine" and "local, ray" in caught.value.cure


def test_without_ray_the_command_that_installs_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec

    def absent(name: str, package: str | None = None) -> ModuleSpec | None:
        return None if name == "ray" else find(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", absent)
    with pytest.raises(EmbedkitError, match="needs Ray, which is not installed") as caught, pool_of("ray"):
        pass
    assert caught.value.cure == 'pip install "embedkit-train[ray]"' and caught.value.exit_code == 1
