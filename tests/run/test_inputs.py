"""A run goes on with what it was made from, or not at all."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from embedkit.errors import TrainingError
from embedkit.recipe.schema import Recipe
from tests.run.runs import go, material, recipe, record
from tests.tiny import tiny_bert


def sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Recipe]:
    """A finished run with a guide, a held-out file and two checkpoints."""
    folder = material(tmp_path_factory.mktemp("half"))
    tiny_bert(folder / "guide", seed=3)
    made = made_of(recipe(steps=2, save_every=1))
    go(folder, made)
    return folder, made


def made_of(base: Recipe) -> Recipe:
    with_guide = {"guide": {"model": "guide"}, "objective": {"name": "infonce", "guide": "absolute"}}
    return Recipe.model_validate({**base.model_dump(exclude_unset=True), **with_guide})


def test_everything_is_recorded_before_training(half: tuple[Path, Recipe]) -> None:
    folder, _ = half
    found = record(folder)["inputs"]
    assert found["data.sources.0"] == {"a.txt": sha(folder / "a.txt"), "b.txt": sha(folder / "b.txt")}
    assert found["eval.suite"][f"{folder.name}/sts.tsv"] == sha(folder / "sts.tsv")[:16]
    for key, name in (("model.base", "tiny"), ("guide.model", "guide")):
        assert found[key]["model.safetensors"] == sha(folder / name / "model.safetensors")[:16]
        assert {"config.json", "tokenizer.json"} <= found[key].keys()


def less(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join(lines[:-1]) + "\n", encoding="utf-8")


def other_weights(path: Path) -> None:
    tiny_bert(path.parent, seed=9)


def new_file(path: Path) -> None:
    path.write_text("a new text\n")


def other_metric(path: Path) -> None:
    path.write_text(path.read_text().replace("name: A,", "name: A, aggregate: mean,"))


@pytest.mark.parametrize(
    ("file", "change", "named"),
    [
        ("a.txt", less, "a.txt (data.sources.0)"),
        ("sts.tsv", less, "sts.tsv (eval.suite)"),
        ("suite.yaml", other_metric, "task A (eval.suite)"),
        ("guide/model.safetensors", other_weights, "model.safetensors (guide.model)"),
        ("tiny/model.safetensors", other_weights, "model.safetensors (model.base)"),
    ],
)
def test_what_is_not_what_it_was_is_refused_before_training(
    half: tuple[Path, Recipe], tmp_path: Path, file: str, change: Callable[[Path], None], named: str
) -> None:
    """The error names the file and both digests; nothing of the run is touched; with the file back it goes on."""
    folder, made = half
    here = tmp_path / folder.name  # the folder of a file is part of its name in the record
    shutil.copytree(folder, here)
    shutil.rmtree(here / "run" / "checkpoints" / "checkpoint-2")
    kept = (here / file).read_bytes()
    change(here / file)
    before = {p: p.read_bytes() for p in (here / "run").rglob("*") if p.is_file()}
    with pytest.raises(TrainingError) as caught:
        go(here, made, resume=True)
    assert named in caught.value.what and caught.value.cure.startswith("put back what was there")
    if file != "suite.yaml":
        old, new = hashlib.sha256(kept).hexdigest()[:16], sha(here / file)[:16]
        assert f"had digest {old}" in caught.value.what and f"has {new}" in caught.value.what
    assert {p: p.read_bytes() for p in (here / "run").rglob("*") if p.is_file()} == before
    (here / file).write_bytes(kept)
    assert go(here, made, resume=True).resumed_from == [1]


def test_a_file_more_or_less_of_a_pattern_is_named(half: tuple[Path, Recipe], tmp_path: Path) -> None:
    folder, made = half
    here = tmp_path / folder.name
    shutil.copytree(folder, here)
    (here / "b.txt").unlink()
    with pytest.raises(TrainingError, match=r"b\.txt \(data\.sources\.0\) had digest .*, has none \(not there\) now"):
        go(here, made, resume=True)


def test_scores_from_before_a_failure_are_used_again_only_with_the_same_inputs(tmp_path: Path) -> None:
    """A start that failed before its first checkpoint may go on with other files; its scores may not."""
    folder, made = material(tmp_path), recipe(steps=1)
    go(folder, made)
    old = record(folder)["scores_before"]["tasks"][0]["metrics"]["spearman"]
    shutil.rmtree(folder / "run" / "checkpoints")
    shutil.rmtree(folder / "run" / "model")
    less(folder / "sts.tsv")
    found = go(folder, made, resume=True)
    assert found.scores_before is not None and found.comparison
    assert found.scores_before["tasks"][0]["metrics"]["spearman"] != old
    assert found.scores_before["tasks"][0]["details"]["digest"] == found.scores_after["tasks"][0]["details"]["digest"]


def test_a_record_that_does_not_say_is_named(half: tuple[Path, Recipe], tmp_path: Path) -> None:
    folder, made = half
    here = tmp_path / folder.name
    shutil.copytree(folder, here)
    (here / "run" / "run.json").unlink()
    said: list[str] = []
    go(here, made, resume=True, said=said)
    assert any("does not say what the run was made from" in line for line in said)
