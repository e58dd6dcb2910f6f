"""``embedkit --help`` and ``import embedkit`` answer at once: nothing heavy is imported."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from typer.main import get_command

from embedkit.cli import app

HEAVY = (
    *("torch", "transformers", "sentence_transformers", "datasets", "accelerate", "peft", "faiss", "mteb"),
    *("numpy", "scipy", "pandas", "matplotlib", "sklearn", "pyarrow", "huggingface_hub"),
)


def imported(*command: str) -> set[str]:
    """Top-level packages that a Python command imports."""
    done = subprocess.run([sys.executable, "-X", "importtime", *command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return {name.split(".")[0] for name in re.findall(r"^import time:.*\|\s+(\S+)$", done.stderr, re.M)}


def verbs(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """``()``, ``("check",)``, ..., ``("recipes", "ls")``."""
    yield path
    for name, verb in getattr(command, "commands", {}).items():
        yield from verbs(verb, (*path, name))


@pytest.mark.parametrize(
    "command",
    [
        ("-c", "import embedkit, embedkit.recipe.load, embedkit.recipe.plan"),
        ("-m", "embedkit", "recipes", "ls"),
    ],
    ids=["import", "recipes-ls"],
)
def test_nothing_heavy_is_imported(command: tuple[str, ...]) -> None:
    found = imported(*command)
    assert "pydantic" in found, "the trace was not read"
    assert not found & set(HEAVY)


@pytest.mark.parametrize("verb", verbs(get_command(app)), ids=" ".join)
def test_help_imports_typer_and_little_else(verb: tuple[str, ...]) -> None:
    """Of what is not Python's own: typer, and click where typer does not bring its own copy."""
    found = imported("-m", "embedkit", *verb, "--help")
    assert "typer" in found, "the trace was not read"
    assert not found & {*HEAVY, "rich", "pydantic", "ruamel", "jinja2", "pygments", "markdown_it"}
    # As slow to import, and Python's own.
    assert not found & {"asyncio", "email", "multiprocessing", "concurrent", "xml", "http", "unittest"}


def test_the_version_is_told_without_more_than_help_needs() -> None:
    assert not imported("-m", "embedkit", "--version") - imported("-m", "embedkit", "--help")


def test_a_check_without_sample_needs_no_torch() -> None:
    found = imported("-m", "embedkit", "check", "unsup/simcse", "eval.suite=null")
    assert not found & {"torch", "transformers", "sentence_transformers", "datasets", "pandas", "matplotlib"}


def test_public_names_are_found_on_first_use() -> None:
    import embedkit

    assert "load_recipe" in dir(embedkit)
    assert embedkit.load_recipe.__module__ == "embedkit.recipe.load"
    with pytest.raises(AttributeError, match="nothing_here"):
        _ = embedkit.nothing_here


def test_train_is_the_function_also_after_the_package_was_imported() -> None:
    code = (
        "import embedkit.train.guards, embedkit; from embedkit import train; from embedkit.train import guards\n"
        "import embedkit.run\n"
        "assert callable(train) and train is embedkit.train is embedkit.run.train and guards.Guards"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
