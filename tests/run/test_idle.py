"""A training that could change nothing of what is saved is refused on the built model, before anything is measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from embedkit.data.sources import load_source
from embedkit.errors import EmbedkitError, RecipeError
from embedkit.evaluation import suite as suites
from embedkit.model.running.encoder import Encoder
from embedkit.recipe.schema import Lora, Model, Recipe
from embedkit.run.build import build_trainer
from embedkit.run.training import train
from embedkit.train.distributed import Comm
from tests.tiny import sentences, tiny_bert

TEXTS = sentences(32, seed=7)
PAIRS = [{"query": a, "positive": b} for a, b in zip(TEXTS[::2], TEXTS[1::2], strict=True)]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bert(tmp_path_factory.mktemp("base"))


def recipe(base: Path, objective: dict[str, Any] | None = None, **blocks: Any) -> Recipe:
    """Two updates on pairs; the loss has a learned temperature, which alone is no training."""
    model = {"base": str(base), **blocks.pop("model", {})}
    data = {"sources": [{"rows": PAIRS}]}
    made = {"model": model, "data": data, "train": {"batch_size": 4, "steps": 2, "device": "cpu"}, **blocks}
    learned = {"name": "infonce", "learn_temperature": True}
    return Recipe.model_validate({**made, "objective": objective or learned})


def build(made: Recipe, folder: Path) -> None:
    sources = [load_source(source) for source in made.data.sources]
    build_trainer(made, sources, Encoder.load(made.model, device="cpu"), folder, Comm())


@pytest.mark.parametrize(
    ("model", "where"),
    [
        ({"freeze": ["all"]}, "model.freeze"),
        ({"freeze": ["embeddings", "layers:0-1"]}, "model.freeze"),
        ({"freeze": ["embeddings", "encoder"]}, "model.freeze"),
        ({"freeze": ["embeddings", "encoder"], "head": {"dim": 8}}, "model.freeze"),
        ({"lora": {"target_modules": ["pooler.dense"]}}, "model.lora.target_modules"),
    ],
    ids=["all", "layers", "names", "a head that is thrown away", "adapters in the pooler"],
)
def test_refused(model: dict[str, Any], where: str, base: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="nothing that is saved would train") as caught:
        build(recipe(base, model=model), tmp_path / "run")
    assert caught.value.where == where


@pytest.mark.parametrize(
    "model",
    [
        {},
        {"freeze": ["embeddings", "layers:0"]},
        {"freeze": ["encoder"]},
        {"freeze": ["all"], "head": {"dim": 8, "keep": True}},
        {"lora": {"r": 2}},
        {"soft_prompts": {"length": 2}},
    ],
    ids=["whole", "one layer", "embeddings train", "a head that is kept", "lora", "soft prompts"],
)
def test_taken(model: dict[str, Any], base: Path, tmp_path: Path) -> None:
    build(recipe(base, model=model), tmp_path / "run")


def test_nothing_is_measured_before(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suites, "evaluate_suite", lambda *a, **k: pytest.fail("something was measured"))
    made = recipe(base, model={"freeze": ["embeddings", "encoder"]}, eval={"suite": "mini"})
    with pytest.raises(RecipeError, match="nothing that is saved would train"):
        train(made, tmp_path / "run", say=lambda line: None, progress=False)


def test_tasks_that_do_not_fit_are_refused_before_anything_is_measured(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(suites, "evaluate_suite", lambda *a, **k: pytest.fail("something was measured"))
    suite = suites.load_suite("mini")
    task = suite.tasks[0].model_copy(update={"max_length": 65})
    made = recipe(base, eval={"suite": suite.model_copy(update={"tasks": (task,)}).model_dump()})
    with pytest.raises(EmbedkitError, match="max_length 65 is more than the 64"):
        train(made, tmp_path / "run", say=lambda line: None, progress=False)


def test_adapters_go_on_only_when_asked(base: Path, tmp_path: Path) -> None:
    pytest.importorskip("peft")
    lora = Lora(r=2, alpha=4)
    Encoder.load(Model(base=str(base), lora=lora), device="cpu").save(tmp_path / "alone", merge=False)
    with pytest.raises(RecipeError, match="adapters, which are read frozen") as caught:
        build(recipe(tmp_path / "alone"), tmp_path / "run")
    assert caught.value.where == "model.base" and "merge" in caught.value.cure
    build(recipe(tmp_path / "alone", model={"lora": {"r": 2, "alpha": 4}}), tmp_path / "run")
