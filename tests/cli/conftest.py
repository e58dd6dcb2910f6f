from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from embedkit.cli import main
from tests.tiny import sentences, tiny_bert

RECIPE = """\
# A tiny run
model: {base: tiny, pooling: mean}
data: {sources: [{path: text.txt}]}
train: {batch_size: 8, steps: 4, log_every: 1, device: cpu}
eval:
  suite: {name: mine, tasks: [{type: sts, name: A, files: [sts.tsv]}]}
  resamples: 100
"""


@dataclass(frozen=True)
class Done:
    """What a command left behind."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="session")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model, data, a suite and a recipe in one folder; nobody writes here."""
    folder = tmp_path_factory.mktemp("material")
    tiny_bert(folder / "tiny")
    texts = sentences(64)
    (folder / "text.txt").write_text("\n".join(texts) + "\n")
    rows = [f"{texts[i]}\t{texts[i + 1] if i % 2 else texts[i] + ' bade'}\t{i % 5}" for i in range(20)]
    (folder / "sts.tsv").write_text("\n".join(["sentence1\tsentence2\tscore", *rows]) + "\n")
    (folder / "suite.yaml").write_text("name: mine\ntasks: [{type: sts, name: A, files: [sts.tsv]}]\n")
    (folder / "r.yaml").write_text(RECIPE)
    return folder


@pytest.fixture
def work(material: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the material: files of its own, which a test may write, and a link to the model."""
    for path in material.iterdir():
        if path.is_file():
            shutil.copy(path, tmp_path)
        else:
            (tmp_path / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path


@pytest.fixture
def embedkit(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Done]:
    """Run the command line in this process."""
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE"):
        monkeypatch.setenv(name, "1")  # also restores what --offline sets

    def run(*arguments: str) -> Done:
        capfd.readouterr()
        code = 0
        try:
            main(list(arguments))
        except SystemExit as end:
            code = int(end.code or 0)
        captured = capfd.readouterr()
        return Done(code, captured.out, captured.err)

    return run


def spawn(*arguments: str, **environ: str) -> subprocess.Popen[str]:
    """Start the command line in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "embedkit", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environ},
    )
