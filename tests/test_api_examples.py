"""The examples of the public names run, as docs/reference/api.md shows them."""

from __future__ import annotations

import doctest
import shutil
from pathlib import Path

import pytest

import embedkit
from embedkit.recipe import registry
from tests.publish.conftest import RECIPE, material, trained  # noqa: F401

NAMES = [name for name in embedkit.__all__[1:] if ">>>" in (getattr(embedkit, name).__doc__ or "")]
SUITE = """\
name: mine
tasks:
  - {type: sts, name: Near or far, files: [sts.tsv]}
  - {type: retrieval, name: dev, folder: beir, ks: [10]}
"""


@pytest.fixture
def work(tmp_path: Path, trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    """A folder with what the examples name; what they register is forgotten."""
    material(tmp_path)
    (tmp_path / "mine.yaml").write_text(RECIPE, encoding="utf-8")
    (tmp_path / "dev.yaml").write_text(SUITE, encoding="utf-8")
    for name in ("mine", "other"):
        shutil.copytree(trained, tmp_path / "runs" / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "_PLUGINS", dict(registry._PLUGINS))


def test_the_usual_names_have_an_example() -> None:
    assert {"load_recipe", "train", "evaluate", "mine", "merge", "export", "publish", "Encoder", "register"} == set(
        NAMES
    )


@pytest.mark.parametrize("name", NAMES)
def test_an_example_runs(name: str, work: None) -> None:
    found = getattr(embedkit, name)
    examples = doctest.DocTestParser().get_doctest(found.__doc__, {name: found}, name, None, None)
    report: list[str] = []
    result = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(examples, out=report.append)
    assert result.attempted and not result.failed, "".join(report)
