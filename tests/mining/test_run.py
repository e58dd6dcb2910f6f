"""A `debias` block in a run: one command from a text file; what is recorded, shown, kept and read again."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from embedkit.mining import debias
from embedkit.recipe.load import load_recipe
from embedkit.run import train
from embedkit.types import RunRecord
from tests.mining.test_debias import families
from tests.tiny import tiny_bert
from tests.workers import PATIENCE

RECIPE = """
model: {base: base, max_length: 24}
data:
  sources:
    - path: text.txt
      debias: {neighbours: 8, lexical: 4, random: 8, min_positive_similarity: 0.65, max_negative_similarity: 0.2}
train: {batch_size: 8, steps: 4, save_every: 2, log_every: 1, device: cpu}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("debias")
    tiny_bert(folder / "base")
    (folder / "text.txt").write_text("\n".join(families(120)), encoding="utf-8")
    (folder / "r.yaml").write_text(RECIPE, encoding="utf-8")
    return folder


@pytest.fixture(autouse=True)
def _own_cache(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))


def run(folder: Path, out: str, *overrides: str, resume: bool = False) -> tuple[RunRecord, str]:
    said: list[str] = []
    path = folder / "r.yaml"
    recipe = load_recipe(path, overrides)
    say = lambda line: said.append(str(line))  # noqa: E731
    record = train(recipe, folder / out, resume=resume, recipe_path=path, say=say, progress=False)
    return record, "\n".join(said)


def test_one_command_from_a_text_file(folder: Path) -> None:
    record, said = run(folder, "run")
    (data,) = record.data
    report = data["debias"]
    assert data["roles"] == ["negative", "positive", "query"] and data["rows"] == report["rows"] == 120
    assert "encode 120 sentences once with" in said and "positive from cos >= 0.65, else itself" in said
    assert "8 examples x 3 texts = 24 texts per batch" in said
    assert "% of 120 sentences got a positive of their own" in said
    kept = json.loads((folder / "run" / "triplets" / "source-0" / "diagnostics.json").read_text(encoding="utf-8"))
    assert kept == report
    page = (folder / "run" / "report" / "index.html").read_text(encoding="utf-8")
    assert "Positives and negatives before and after debiasing" in page
    assert (folder / "run" / "report" / "triplets.svg").is_file()
    assert record.finished


def test_resume_and_the_second_seed_do_not_build_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, _ = run(folder, "first", "train.seed=1")

    def built(*args: object) -> None:
        raise AssertionError("triplets were built again")

    monkeypatch.setattr(debias, "_build", built)
    second, _ = run(folder, "second", "train.seed=2")
    assert second.data == first.data
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "empty"))
    monkeypatch.setattr(debias, "_provide", built)
    shutil.rmtree(folder / "first" / "checkpoints" / "checkpoint-4")
    resumed, _ = run(folder, "first", "train.seed=1", resume=True)
    assert resumed.resumed_from == [2] and resumed.data == first.data


@pytest.mark.slow
@pytest.mark.dist
def test_two_processes_train_on_the_triplets_of_one(folder: Path) -> None:
    """Each with a cache of its own, so that process 0 builds and process 1 finds them in the run's folder."""
    losses = []
    for processes in ("1", "2"):
        env = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
        env["XDG_CACHE_HOME"] = str(folder / f"cache-{processes}")
        out = folder / f"n{processes}"
        command = ["train", str(folder / "r.yaml"), "model.dropout=0.0", "--out", str(out), "--nproc", processes]
        done = subprocess.run(
            [sys.executable, "-m", "embedkit", *command],
            env=env, capture_output=True, text=True, timeout=PATIENCE, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        losses.append([h["loss"] for h in json.loads((out / "run.json").read_text())["curve"]])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
