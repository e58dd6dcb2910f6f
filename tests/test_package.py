"""The wheel and the source distribution: what is in them, and that they run away from the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
pytest.importorskip("hatchling", reason="`make install` has it")
pytestmark = pytest.mark.slow


def python(*arguments: str, cwd: Path, path: Path | None = None) -> str:
    environ = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | ({"PYTHONPATH": str(path)} if path else {})
    done = subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built of the unpacked source distribution, as an index's users would get it."""
    folder = tmp_path_factory.mktemp("build")
    python("-m", "hatchling", "build", "-t", "sdist", "-d", str(folder), cwd=ROOT)
    source = next(folder.glob("*.tar.gz"))
    with tarfile.open(source) as archive:
        archive.extractall(folder / "unpacked", filter="data")
    python("-m", "hatchling", "build", "-t", "wheel", "-d", str(folder), cwd=next((folder / "unpacked").iterdir()))
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds embedkit and nothing else."""
    folder = tmp_path_factory.mktemp("installed")
    python("-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder), str(wheel), cwd=folder)
    return folder


def test_the_wheel_holds_recipes_suites_and_types_and_nothing_of_the_checkout(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    held = {name.removeprefix("embedkit/") for name in names if name.startswith("embedkit/")}
    recipes = {str(path.relative_to(ROOT / "recipes")) for path in (ROOT / "recipes").rglob("*.yaml")}
    assert {f"_recipes/{name}" for name in recipes} <= held
    assert {f"_eval/suites/{path.name}" for path in (ROOT / "eval" / "suites").glob("*.yaml")} <= held
    assert "py.typed" in held
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"embedkit"}


def test_it_runs_from_another_folder(installed: Path, tmp_path: Path) -> None:
    where = python("-c", "import embedkit; print(embedkit.__file__)", cwd=tmp_path, path=installed)
    assert Path(where.strip()).is_relative_to(installed)
    assert "retrieval/infonce" in python("-m", "embedkit", "recipes", "ls", cwd=tmp_path, path=installed)
    assert "quickstart" in python("-m", "embedkit", "recipes", "show", "quickstart", cwd=tmp_path, path=installed)


def test_it_trains_and_measures(installed: Path, tmp_path: Path) -> None:
    from tests.tiny import sentences, tiny_bert

    tiny_bert(tmp_path / "tiny")
    (tmp_path / "texts.txt").write_text("\n".join(sentences(32)) + "\n", encoding="utf-8")
    words = ["model.base=tiny", "data.sources=[{path: texts.txt}]"]
    steps = ["train.steps=2", "train.batch_size=8", "train.device=cpu"]
    run = ["-m", "embedkit", "train", "unsup/simcse", *words, *steps, "eval.suite=mini", "--out", "run"]
    python(*run, cwd=tmp_path, path=installed)
    assert (tmp_path / "run" / "model" / "model.safetensors").is_file()
    assert (tmp_path / "run" / "report" / "index.html").is_file()
