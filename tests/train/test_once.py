"""Texts of several examples that are encoded once: the same training where dropout is off, in less work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from sentence_transformers import SentenceTransformer

from embedkit.recipe.plan import plan
from embedkit.recipe.planning.words import lines
from embedkit.recipe.reading.dump import recipe_hash
from embedkit.recipe.schema import Recipe
from embedkit.train.trainer import Trainer
from tests.device import DEVICE
from tests.tiny import sentences, tiny_bert
from tests.train.runs import state, trainer

KINDS = 5


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bert(tmp_path_factory.mktemp("once") / "tiny")


def recipe(base: Path, objective: dict[str, Any], model: dict[str, Any], train: dict[str, Any], **more: Any) -> Recipe:
    """Pairs with a negative, all of few texts: each stands on either side, and in some examples twice."""
    texts = sentences(KINDS, seed=3)
    picks = [texts[(i * step) % KINDS] for i in range(12) for step in (1, 2, 3)]
    rows = [{"query": q, "positive": p, "negative": [n]} for q, p, n in zip(*[iter(picks)] * 3, strict=True)]
    return Recipe.model_validate(
        {
            "model": {"base": str(base), "max_length": 24, "dropout": 0.0, **model},
            "data": {"sources": [{"rows": rows}]},
            "objective": objective,
            "negatives": {"per_query": 1},
            "train": {
                "batch_size": 6,
                "steps": 3,
                "learning_rate": 1e-1,
                "optimizer": "sgd",
                "device": DEVICE,
                **train,
            },
            **more,
        }
    )


def prompted(base: Path, folder: Path) -> Path:
    """A model to which a text on one side is not what it is on the other."""
    model = SentenceTransformer(str(base), prompts={"query": "ba ba: ", "document": "lo: "}, device="cpu")
    model.save(str(folder))
    return folder


def trained(made: Recipe, folder: Path) -> tuple[Trainer, dict[str, torch.Tensor]]:
    t = trainer(made, folder)
    t.train()
    return t, state(t)


@pytest.mark.parametrize(
    ("objective", "model", "train", "more"),
    [
        ({"name": "infonce"}, {"prompts": {"query": "q: ", "document": "d: "}}, {}, {}),
        ({"name": "infonce"}, {"towers": 2, "frozen_tower": "document"}, {"graph": "reforward"}, {}),
        ({"name": "infonce"}, {}, {"prograd": {}}, {}),
        ({"name": "moco", "queue": 8, "momentum": 0.9}, {}, {}, {"negatives": {"per_query": 0}}),
        ({"name": "infonce", "guide": "absolute"}, {}, {}, {"guide": {}}),
    ],
    ids=["prompts", "frozen tower", "prograd", "moco", "guide"],
)
def test_training_is_the_same(
    base: Path,
    tmp_path: Path,
    objective: dict[str, Any],
    model: dict[str, Any],
    train: dict[str, Any],
    more: dict[str, Any],
) -> None:
    if "guide" in more:
        more = {"guide": {"model": str(prompted(base, tmp_path / "guide"))}}
    found = {}
    for once in (None, True):
        made = recipe(base, objective, model, {**train, "encode_once": once}, **more)
        t, found[once] = trained(made, tmp_path / str(once))
        rows = len(t.pipeline.batch(0, 0).input_ids)
        assert rows in (12, 18) if once is None else rows < 12
    assert found[None].keys() == found[True].keys()
    for name, value in found[None].items():
        assert torch.allclose(value.double(), found[True][name].double(), rtol=1e-4, atol=2e-6), name


def test_every_place_in_an_example_has_a_pass_of_its_own(base: Path, tmp_path: Path) -> None:
    """SimCSE's two views are two passes, whatever stands in the other examples."""
    made = Recipe.model_validate(
        {
            "model": {"base": str(base), "max_length": 24},
            "data": {"sources": [{"rows": [{"text": text} for text in sentences(4, seed=3) * 4]}]},
            "train": {"batch_size": 16, "steps": 1, "device": DEVICE, "encode_once": True},
        }
    )
    t = trainer(made, tmp_path)
    batch = t.pipeline.batch(0, 0)
    assert len(batch.input_ids) == 8
    t.encoder.module.train()
    with torch.no_grad():
        block = batch.spread(t.engine._forward(batch, keep=False).block).view(16, 2, -1)
    assert not torch.allclose(block[:, 0], block[:, 1])


def test_the_plan_tells_and_hashes_stay(base: Path) -> None:
    plain, once = (recipe(base, {"name": "infonce"}, {}, {"encode_once": value}) for value in (None, True))
    assert "a text of several examples encoded once" in "\n".join(lines(plan(once)))
    assert recipe_hash(plain) == recipe_hash(recipe(base, {"name": "infonce"}, {}, {})) != recipe_hash(once)
