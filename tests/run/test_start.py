"""A folder that holds a run already: of which recipe, also where what says so is damaged."""

from __future__ import annotations

from pathlib import Path

import pytest

from embedkit.disk.folders import RunFolder
from embedkit.errors import TrainingError
from embedkit.recipe.load import dump
from embedkit.recipe.schema import Recipe
from embedkit.run.start import refuse_other

RECIPE = Recipe.model_validate({"data": {"sources": [{"path": "a.txt"}]}, "train": {"seed": 7}})


def held(folder: Path, text: str) -> RunFolder:
    found = RunFolder(folder)
    found.model.mkdir()
    found.recipe.write_text(text, encoding="utf-8")
    return found


@pytest.mark.parametrize("text", ["", "[" * 20_000, "a: [", "train: !!set {seed}", "- 1", "\0"])
def test_a_damaged_recipe_is_another_one(tmp_path: Path, text: str) -> None:
    with pytest.raises(TrainingError, match="this folder holds the run of another recipe") as caught:
        refuse_other(RECIPE, held(tmp_path, text))
    assert caught.value.where == str(tmp_path / "recipe.yaml") and "or choose another --out" in caught.value.cure


def test_the_same_recipe_and_one_of_another_seed(tmp_path: Path) -> None:
    folder = held(tmp_path, dump(RECIPE))
    refuse_other(RECIPE, folder)
    other = RECIPE.model_copy(update={"train": RECIPE.train.model_copy(update={"seed": 8})})
    with pytest.raises(TrainingError, match=r"train\.seed was 7, is 8") as caught:
        refuse_other(other, folder)
    assert "(train.seed=7)" in caught.value.cure
