"""Relative paths start at the recipe, then at the working folder, whatever names them."""

from __future__ import annotations

import copy
import json
import pickle
import shutil
from pathlib import Path
from typing import Any, get_args

import pytest

from embedkit.data.sources import load_source
from embedkit.disk import paths
from embedkit.errors import DataError
from embedkit.evaluation.suite import load_suite
from embedkit.model.running.encoder import Encoder
from embedkit.recipe import registry
from embedkit.recipe.base import Block
from embedkit.recipe.filters import parse_all
from embedkit.recipe.load import dump, load_recipe, recipe_hash
from embedkit.recipe.reading.settle import marker, places, settle
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


def settled(folder: Path, **blocks: Any) -> Recipe:
    rows = {"rows": [{"text": "x"}], "roles": {"text": "text"}}
    return settle(Recipe.model_validate({"data": {"sources": [rows]}, **blocks}), folder)


def test_the_recipe_comes_first(folders: tuple[Path, Path]) -> None:
    recipe, work = folders
    both = paths.starts(recipe)
    assert paths.locate("a.txt", "file", both).place == recipe / "a.txt"
    assert paths.locate("b.txt", "file", both).place == work / "b.txt"
    assert paths.locate(str(work / "a.txt"), "file", both).place == work / "a.txt"
    assert paths.file("a.txt") == work / "a.txt"
    assert paths.locate("none.txt", "file", both).place is None
    assert paths.locate("b.txt", "folder", both).place is None


def test_what_is_no_folder_is_an_id(folders: tuple[Path, Path]) -> None:
    recipe, work = folders
    assert paths.folder_or_id(paths.locate("model", "folder", paths.starts(recipe))) == str(work / "model")
    assert paths.folder_or_id("owner/model") == "owner/model"


def test_patterns_match_in_one_folder(folders: tuple[Path, Path]) -> None:
    recipe, work = folders
    assert paths.locate("*.txt", "files", folders).places == (recipe / "a.txt",)
    assert paths.locate("b.*", "files", folders).places == (work / "b.txt",)
    both = (recipe / "a.txt", work / "a.txt")
    assert paths.locate(str(recipe.parent / "*" / "a.txt"), "files", []).places == both
    assert paths.locate("none.txt", "files", folders).places == ()


def test_a_settled_path_reads_as_written_and_stays_where_it_led(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, work = folders
    found = paths.locate("b.txt", "file", paths.starts(recipe))
    monkeypatch.chdir(recipe)
    assert found == "b.txt" and f"{found}" == "b.txt"
    assert paths.file(found) == work / "b.txt" and paths.file("b.txt") is None
    for copied in (copy.deepcopy(found), pickle.loads(pickle.dumps(found))):
        assert copied.place == work / "b.txt" and copied.looked == (recipe, work)


def test_settling_changes_neither_yaml_nor_hash(folders: tuple[Path, Path]) -> None:
    recipe, _ = folders
    (recipe / "r.yaml").write_text("data: {sources: [{path: a.txt, roles: {text: text}}]}\nmodel: {base: model}\n")
    settled = load_recipe(recipe / "r.yaml")
    plain = Recipe.model_validate(settled.model_dump())
    assert paths.folder(settled.model.base) is not None and type(plain.model.base) is str
    assert dump(settled) == dump(plain) and recipe_hash(settled) == recipe_hash(plain)
    assert str(recipe) not in dump(settled) and str(recipe) not in json.dumps(settled.model_dump(mode="json"))


def marked(block: type[Block], seen: set[type[Block]]) -> set[str]:
    """Every path field that a recipe may hold, as Class.field."""
    if block in seen:
        return set()
    seen.add(block)
    found = {f"{block.__name__}.{name}" for name, field in block.model_fields.items() if marker(field)}
    kinds: tuple[registry.Kind, ...] = get_args(registry.Kind)
    named = [registry.resolve(registry.lookup(kind, name).config) for kind in kinds for name in registry.names(kind)]
    inner = [kind for f in block.model_fields.values() for kind in classes(f.annotation)]
    return found.union(*(marked(kind, seen) for kind in [*inner, *named]))


def classes(annotation: Any) -> list[type[Block]]:
    if isinstance(annotation, type) and issubclass(annotation, Block):
        return [annotation]
    return [kind for argument in get_args(annotation) for kind in classes(argument)]


def test_every_path_of_the_schema_is_marked() -> None:
    """A new option that holds a path must say so, or it would be looked for in the working folder alone."""
    assert marked(Recipe, set()) == {
        "Model.base",
        "Source.hub",
        "Source.path",
        "Debias.guide",
        "LabelTexts.file",
        "Clusters.model",
        "SubstituteWords.synonyms",
        "Template.file",
        "Templates.file",
        "Demonstrations.model",
        "Guide.model",
        "Mining.corpus",
        "Mining.filters",
        "ReplacedTokens.generator",
        "Eval.suite",
        "Eval.during",
        "Eval.data",
        "Eval.masked_lm",
        "FirstStage.model",
    }


def test_suites_and_their_data_are_found_in_the_working_folder(folders: tuple[Path, Path]) -> None:
    """A shipped recipe lies in the package; what the command line names does not."""
    recipe, work = folders
    (work / "own.yaml").write_text("name: own\ntasks:\n  - {type: sts, name: pairs, files: [pairs.tsv]}\n")
    (work / "data").mkdir()
    (work / "data" / "pairs.tsv").write_text("score\tsentence1\tsentence2\n1\ta b\tc d\n")
    for reference in ("own.yaml", "own.yaml:pairs"):
        block = settled(recipe, eval={"suite": reference, "data": "data"}).eval
        suite = load_suite(block.suite, block.data)  # type: ignore[arg-type]
        assert suite.tasks[0].files == (str(work / "data" / "pairs.tsv"),)  # type: ignore[union-attr]


def test_a_suite_written_in_a_recipe_has_its_files_in_either_folder(folders: tuple[Path, Path]) -> None:
    recipe, work = folders
    for folder, name in ((recipe, "beside.tsv"), (work, "here.tsv")):
        (folder / name).write_text("score\tsentence1\tsentence2\n1\ta b\tc d\n")
    tasks = tuple(StsTask(name=name, files=(f"{name}.tsv",)) for name in ("beside", "here"))
    suite = load_suite(settled(recipe, eval={"suite": Suite(name="own", tasks=tasks)}).eval.suite)  # type: ignore[arg-type]
    assert [task.files for task in suite.tasks] == [  # type: ignore[union-attr]
        (str(recipe / "beside.tsv"),),
        (str(work / "here.tsv"),),
    ]
    with pytest.raises(DataError) as caught:
        no = Suite(name="own", tasks=(StsTask(name="no", files=("no.tsv",)),))
        load_suite(settled(recipe, eval={"suite": no}).eval.suite)  # type: ignore[arg-type]
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
    made = settle(made, recipe)
    encoder = Encoder.load(made.model, device="cpu")
    sources = [load_source(source) for source in made.data.sources]
    trainer = build_trainer(made, sources, encoder, work / "run", Comm())
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
        "mining:\n  filters: ['scores=a.txt,below=0.1', 'rank=1:9', 'guide=owner/name',"
        " 'judge=judge,prompts=own.yaml']\n"
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
    assert list(made["mining"]["filters"]) == [
        "scores=../recipe/a.txt,below=0.1",
        "rank=1:9",
        "guide=owner/name",
        "judge=../recipe/judge,prompts=../recipe/own.yaml",
    ]


def test_paths_in_filters_lead_where_others_do(folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each filter that holds a path, from the recipe's folder first; what is written stays as it is."""
    recipe, work = folders
    (recipe / "judge").mkdir()
    texts = (
        "scores=a.txt,below=0.1",
        "scores=*.txt,below=0.1",
        "guide=model",
        "cross-encoder=model,batch=2",
        "judge=judge,prompts=b.txt",
        "judge=model,endpoint=http://here,prompts=a.txt",
        "near-duplicates=0.5",
        "guide=owner/name,margin=0.9",
    )
    made = settled(recipe, mining={"filters": texts})
    plain = Recipe.model_validate(made.model_dump())
    assert made.mining is not None and made.mining.filters == texts and settle(made) == made
    assert dump(made) == dump(plain) and recipe_hash(made) == recipe_hash(plain)
    assert str(recipe) not in json.dumps(made.model_dump(mode="json"))
    monkeypatch.chdir(recipe.parent)
    named = parse_all(made.mining.filters)
    assert [named[i].value.places for i in (0, 1, 2, 3, 4)] == [
        (recipe / "a.txt",),
        (recipe / "a.txt",),
        (work / "model",),
        (work / "model",),
        (recipe / "judge",),
    ]
    assert paths.file(named[4].settings["prompts"]) == work / "b.txt"
    assert named[5].value == "model" and not isinstance(named[5].value, paths.Located)  # what a server calls it
    assert paths.file(named[5].settings["prompts"]) == recipe / "a.txt"
    assert paths.folder_or_id(named[7].value) == "owner/name" and named[6].value == 0.5
    assert [(p.key, str(p.path), p.kind, p.part) for p in places(made.mining)][:6] == [
        (("filters", 0), "a.txt", "files", "scores"),
        (("filters", 1), "*.txt", "files", "scores"),
        (("filters", 2), "model", "folder", "guide"),
        (("filters", 3), "model", "folder", "cross-encoder"),
        (("filters", 4), "judge", "folder", "judge"),
        (("filters", 4), "b.txt", "file", "prompts"),
    ]


@pytest.mark.parametrize("name", ["~nobody-has-this-name", "~0", "~\x1b"])
def test_a_tilde_before_the_name_of_no_user_is_a_name(name: str, tmp_path: Path) -> None:
    assert paths.at_home(name) == Path(name) and paths.at_home("~/a") == Path.home() / "a"
    file = tmp_path / "r.yaml"
    source = {"path": name}
    file.write_text(json.dumps({"model": {"base": name}, "data": {"sources": [source]}, "eval": {"suite": name}}))
    assert load_recipe(file).model.base == name
    with pytest.raises(DataError, match="no such file"):
        load_source(load_recipe(file).data.sources[0])
    (tmp_path / name).write_text('{"text": "a b c"}\n' * 2)
    with pytest.raises(DataError, match="ending"):
        load_source(load_recipe(file).data.sources[0])
