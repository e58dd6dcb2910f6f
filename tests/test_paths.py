"""Relative paths start at the recipe, then at the working folder, whatever names them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from embedkit import paths
from embedkit.data.sources import load_source
from embedkit.errors import DataError
from embedkit.evaluation.suite import load_suite
from embedkit.model.running.encoder import Encoder
from embedkit.recipe.load import load_recipe
from embedkit.recipe.schema import Recipe
from embedkit.recipe.suite import StsTask, Suite
from embedkit.run.build import build_trainer
from embedkit.train.distributed import Comm
from tests.auxiliary.models import tiny_masked_lm
from tests.tiny import sentences, tiny_bert


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """A recipe's folder and a working folder; both have a.txt, the second alone b.txt and a folder model."""
    recipe, work = tmp_path / "recipe", tmp_path / "work"
    for folder in (recipe, work):
        folder.mkdir()
        (folder / "a.txt").write_text("x\n")
    (work / "b.txt").write_text("x\n")
    (work / "model").mkdir()
    monkeypatch.chdir(work)
    return recipe, work


def test_the_recipe_comes_first(folders: tuple[Path, Path]) -> None:
    recipe, work = folders
    assert paths.find("a.txt", recipe) == recipe / "a.txt"
    assert paths.find("b.txt", recipe) == work / "b.txt"
    assert paths.find(work / "a.txt", recipe) == work / "a.txt"
    assert paths.find("a.txt", None) == work / "a.txt"
    assert paths.find("none.txt", recipe) is None
    assert paths.find("b.txt", recipe, Path.is_dir) is None


def test_what_is_no_folder_is_an_id(folders: tuple[Path, Path]) -> None:
    recipe, work = folders
    assert paths.folder_or_id("model", recipe) == str(work / "model")
    assert paths.folder_or_id("owner/model", recipe) == "owner/model"


def test_patterns_match_in_one_folder(folders: tuple[Path, Path]) -> None:
    recipe, work = folders
    assert paths.matches("*.txt", folders) == [recipe / "a.txt"]
    assert paths.matches("b.*", folders) == [work / "b.txt"]
    assert paths.matches(str(recipe.parent / "*" / "a.txt"), []) == [recipe / "a.txt", work / "a.txt"]
    assert paths.matches("none.txt", folders) == []


def test_suites_and_their_data_are_found_in_the_working_folder(folders: tuple[Path, Path]) -> None:
    """A shipped recipe lies in the package; what the command line names does not."""
    recipe, work = folders
    (work / "own.yaml").write_text("name: own\ntasks:\n  - {type: sts, name: pairs, files: [pairs.tsv]}\n")
    (work / "data").mkdir()
    (work / "data" / "pairs.tsv").write_text("score\tsentence1\tsentence2\n1\ta b\tc d\n")
    for reference in ("own.yaml", "own.yaml:pairs"):
        suite = load_suite(reference, recipe, Path("data"))
        assert suite.tasks[0].files == (str(work / "data" / "pairs.tsv"),)  # type: ignore[union-attr]


def test_a_suite_written_in_a_recipe_has_its_files_in_either_folder(folders: tuple[Path, Path]) -> None:
    recipe, work = folders
    for folder, name in ((recipe, "beside.tsv"), (work, "here.tsv")):
        (folder / name).write_text("score\tsentence1\tsentence2\n1\ta b\tc d\n")
    tasks = tuple(StsTask(name=name, files=(f"{name}.tsv",)) for name in ("beside", "here"))
    suite = load_suite(Suite(name="own", tasks=tasks), recipe)
    assert [task.files for task in suite.tasks] == [  # type: ignore[union-attr]
        (str(recipe / "beside.tsv"),),
        (str(work / "here.tsv"),),
    ]
    with pytest.raises(DataError) as caught:
        load_suite(Suite(name="own", tasks=(StsTask(name="no", files=("no.tsv",)),)), recipe)
    assert str(recipe) in caught.value.where and str(work) in caught.value.where


@pytest.mark.parametrize("place", ["recipe", "work"])
def test_guide_and_generator_are_found_in_either_folder(folders: tuple[Path, Path], place: str) -> None:
    recipe, work = folders
    folder = folders[place == "work"]
    tiny_bert(folder / "guide")
    tiny_masked_lm(folder / "generator", "distilbert", seed=1)
    made = Recipe.model_validate(
        {
            "model": {"base": str(tiny_masked_lm(work / "base"))},
            "data": {"sources": [{"rows": [{"text": text} for text in sentences(8)], "roles": {"text": "text"}}]},
            "objective": {"name": "infonce", "guide": "absolute"},
            "guide": {"model": "guide"},
            "auxiliary": [{"name": "replaced_tokens", "generator": "generator"}],
            "train": {"batch_size": 4, "steps": 1, "device": "cpu"},
        }
    )
    encoder = Encoder.load(made.model, device="cpu")
    sources = [load_source(source, recipe) for source in made.data.sources]
    trainer = build_trainer(made, sources, encoder, work / "run", Comm(), base_dir=recipe)
    assert trainer.engine.guide is not None and len(trainer.engine.auxiliaries) == 1


def test_every_path_of_an_extended_recipe_holds_from_the_one_that_extends_it(folders: tuple[Path, Path]) -> None:
    recipe, work = folders
    for name in ("base", "guide", "generator", "judge"):
        (recipe / name).mkdir()
    for name in ("own.yaml", "dev.txt", "words.tsv"):
        (recipe / name).write_text("x\n")
    (recipe / "below.yaml").write_text(
        "model: {base: base}\n"
        "data:\n  sources:\n    - {path: a.txt, roles: {text: text}, debias: {guide: judge}}\n"
        "views: {transforms: [[], [{name: substitute_words, rate: 0.1, source: synonyms, synonyms: words.tsv}]]}\n"
        "guide: {model: guide}\n"
        "auxiliary: [{name: mlm}, {name: replaced_tokens, generator: generator}]\n"
        "eval: {suite: own.yaml, masked_lm: dev.txt, data: base}\n"
    )
    (work / "above.yaml").write_text("extends: ../recipe/below.yaml\n")
    shutil.rmtree(work / "model")
    made = load_recipe(work / "above.yaml").model_dump()
    source = made["data"]["sources"][0]
    found = [
        made["model"]["base"],
        source["path"],
        source["debias"]["guide"],
        made["views"]["transforms"][1][0]["synonyms"],
        made["guide"]["model"],
        made["auxiliary"][1]["generator"],
        made["eval"]["suite"],
        made["eval"]["masked_lm"],
        made["eval"]["data"],
    ]
    assert found and all(str(place).startswith("../recipe/") for place in found), found
    assert all((work / place).exists() for place in found)
