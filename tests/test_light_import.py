"""``embedkit --help`` and ``import embedkit`` answer at once: nothing heavy is imported."""

from __future__ import annotations

import re
import subprocess
import sys
import time

import pytest

HEAVY = (
    *("torch", "transformers", "sentence_transformers", "datasets", "accelerate", "peft", "faiss", "mteb"),
    *("numpy", "scipy", "pandas", "matplotlib", "sklearn", "pyarrow", "huggingface_hub"),
)


def imported(*command: str) -> set[str]:
    """Top-level packages that a Python command imports."""
    done = subprocess.run([sys.executable, "-X", "importtime", *command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return {name.split(".")[0] for name in re.findall(r"^import time:.*\|\s+(\S+)$", done.stderr, re.M)}


@pytest.mark.parametrize(
    "command",
    [
        ("-c", "import embedkit, embedkit.recipe.load, embedkit.recipe.plan"),
        ("-m", "embedkit", "--help"),
        ("-m", "embedkit", "train", "--help"),
        ("-m", "embedkit", "recipes", "ls"),
    ],
    ids=["import", "help", "train-help", "recipes-ls"],
)
def test_nothing_heavy_is_imported(command: tuple[str, ...]) -> None:
    found = imported(*command)
    assert "typer" in found or "pydantic" in found, "the trace was not read"
    assert not found & set(HEAVY)


def test_a_check_without_sample_needs_no_torch() -> None:
    found = imported("-m", "embedkit", "check", "unsup/simcse", "eval.suite=null")
    assert not found & {"torch", "transformers", "sentence_transformers", "datasets", "pandas", "matplotlib"}


def test_public_names_are_found_on_first_use() -> None:
    import embedkit

    assert "load_recipe" in dir(embedkit)
    assert embedkit.load_recipe.__module__ == "embedkit.recipe.load"
    with pytest.raises(AttributeError, match="nothing_here"):
        _ = embedkit.nothing_here


@pytest.mark.slow
def test_help_answers_in_half_a_second() -> None:
    """The best of five: a busy machine must not fail it, a heavy import must."""
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "embedkit", "--help"], capture_output=True, check=True)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.5, seconds
