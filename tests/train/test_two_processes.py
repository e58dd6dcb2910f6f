"""The command line with two processes trains the same model as with one: batch size, order and gradient are global.

Plain SGD, because Adam turns the rounding noise of a zero gradient (a key bias) into a full step."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tests.auxiliary.models import tiny_masked_lm
from tests.tiny import sentences, tiny_bert
from tests.workers import PATIENCE

pytestmark = [pytest.mark.cpu, pytest.mark.dist]


LISTS_THREADS = """
import atexit, os

def names():
    for task in os.listdir("/proc/self/task"):
        with open(f"/proc/self/task/{task}/comm") as file:
            yield file.read().strip()

def write():
    with open(f"{os.environ['EMBEDKIT_TEST_THREADS']}-{os.environ['RANK']}", "w") as file:
        file.write("\\n".join(names()))

if "RANK" in os.environ:
    atexit.register(write)  # before all others, so that it comes after them
"""


def run(folder: Path, out: str, *extra: str, recipe: str = "") -> None:
    env = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", "embedkit", "train", recipe or str(folder / "recipe.yaml")]
    command += ["--out", str(folder / out)]
    done = subprocess.run([*command, *extra], env=env, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("two")
    tiny_bert(folder / "base", dropout=0.0)
    texts = sentences(80, seed=4)
    rows = [{"query": a, "positive": b} for a, b in zip(texts[::2], texts[1::2], strict=True)]
    (folder / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    (folder / "recipe.yaml").write_text(
        """
model: {base: base, max_length: 24}
data: {sources: [{path: pairs.jsonl}]}
objective: {name: infonce, learn_temperature: true}
train:
  {batch_size: 8, accumulation: 2, steps: 4, learning_rate: 0.1, optimizer: sgd,
   tokens_per_micro_batch: 40, save_every: 2}
""",
        encoding="utf-8",
    )
    return folder


def assert_same(folder: Path, base: str, *outs: str) -> None:
    """Both runs moved the weights of `base`, and to the same place, by the same losses."""
    one, other = (load_file(folder / out / "model" / "model.safetensors") for out in outs)
    start = load_file(folder / base / "model.safetensors")
    moved = max(float((one[n] - start[n]).abs().max()) for n in one if n in start)
    apart = max(float((one[n] - other[n]).abs().max()) for n in one)
    assert moved > 1e-2 and apart < 1e-6 * moved / 1e-2, (moved, apart)
    losses = [[h["loss"] for h in json.loads((folder / out / "run.json").read_text())["curve"]] for out in outs]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


@pytest.fixture(scope="module")
def two(folder: Path) -> Path:
    """A finished run of two processes."""
    run(folder, "two", "--nproc", "2")
    return folder / "two"


@pytest.mark.skipif(sys.platform != "linux", reason="the names of threads are read in /proc")
def test_no_thread_of_the_group_outlives_the_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that lets go of a tensor while the interpreter ends would abort the process, now and then."""
    (folder / "site").mkdir()
    (folder / "site" / "sitecustomize.py").write_text(LISTS_THREADS, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder / "site"), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("EMBEDKIT_TEST_THREADS", str(folder / "threads"))
    run(folder, "listed", "--nproc", "2")
    for rank in (0, 1):
        names = (folder / f"threads-{rank}").read_text(encoding="utf-8").split("\n")
        assert names and not [name for name in names if "gloo" in name]


def test_two_processes_give_the_model_of_one(folder: Path, two: Path) -> None:
    run(folder, "one")
    assert_same(folder, "base", "one", "two")


def test_each_process_keeps_a_random_state_of_its_own(two: Path) -> None:
    """Also where nobody named the CPU: libraries that think themselves alone would write one file, both of them."""
    for checkpoint in (two / "checkpoints").glob("checkpoint-*"):
        assert {p.name for p in checkpoint.glob("rng_state*")} == {"rng_state_0.pth", "rng_state_1.pth"}


@pytest.mark.slow
def test_two_processes_resume(folder: Path, two: Path) -> None:
    shutil.copytree(two, folder / "again")
    shutil.rmtree(folder / "again" / "model")
    shutil.rmtree(folder / "again" / "checkpoints" / "checkpoint-4")
    run(folder, "again", "--nproc", "2", "--resume")
    whole = load_file(two / "model" / "model.safetensors")
    again = load_file(folder / "again" / "model" / "model.safetensors")
    assert max(float((whole[n] - again[n]).abs().max()) for n in whole) == 0.0
    assert json.loads((folder / "again" / "run.json").read_text())["resumed_from"] == [2]


@pytest.mark.slow
def test_two_processes_give_the_sparse_encoder_of_one(folder: Path) -> None:
    """`retrieval/splade` as it ships: weights of words are gathered as embeddings are, FLOPS is of the global batch."""
    tiny_masked_lm(folder / "words")
    overrides = [
        *(f"model.base={folder / 'words'}", "model.dropout=0", "model.max_length=24", "eval.suite=null"),
        *(f"data.sources.0.path={folder / 'pairs.jsonl'}", "objective.terms.1.objective.warmup=2"),
        *("objective.terms.1.objective.query=0.03", "objective.terms.1.objective.document=0.02"),
        *("train.batch_size=8", "train.accumulation=2", "train.steps=4", "train.tokens_per_micro_batch=40"),
        *("train.optimizer=sgd", "train.learning_rate=0.1", "train.warmup=0"),
    ]
    for out, extra in (("one-sparse", ()), ("two-sparse", ("--nproc", "2"))):
        run(folder, out, *overrides, *extra, recipe="retrieval/splade")
    assert_same(folder, "words", "one-sparse", "two-sparse")
    curves = [json.loads((folder / out / "run.json").read_text())["curve"] for out in ("one-sparse", "two-sparse")]
    for name in ("flops_query", "flops_document", "active_query", "active_document"):
        found = [[h[name] for h in curve] for curve in curves]
        assert min(found[0]) > 0 and found[0] == pytest.approx(found[1], rel=1e-4), name
