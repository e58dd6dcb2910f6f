"""Lion, and learning rates by layer."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from embedkit.model.reading.structure import depths, layers
from embedkit.recipe.load import recipe_hash
from embedkit.train.optimizers import Lion, Optimization
from tests.tiny import tiny_bert
from tests.train.runs import recipe, state, trainer


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bert(tmp_path_factory.mktemp("base"))


def test_lion_moves_every_weight_by_its_sign() -> None:
    weights = nn.Parameter(torch.tensor([1.0, -2.0, 3.0, 4.0]))
    optimizer = Lion([weights], lr=0.1, weight_decay=0.5)
    weights.grad = torch.tensor([1e-6, -50.0, 0.0, 2.0])
    optimizer.step()
    torch.testing.assert_close(weights.detach(), torch.tensor([0.95 - 0.1, -1.9 + 0.1, 2.85, 3.8 - 0.1]))
    weights.grad = None
    optimizer.step()  # nothing to do
    assert float(weights[0].detach()) == pytest.approx(0.85)
    weights.grad = torch.zeros(4)
    assert optimizer.step(lambda: 7.0) == 7.0
    moved = weights.detach() / torch.tensor([0.85, -1.8, 2.85, 3.7]) / 0.95
    assert bool((moved[[0, 1, 3]] != 1).all()) and float(moved[2]) == pytest.approx(1)  # by what it remembers


def test_each_layer_has_the_rate_of_the_one_above_times_the_decay(base: Path, tmp_path: Path) -> None:
    run = trainer(recipe(base, layer_decay=0.5, objective_learning_rate=1e-2), tmp_path)
    optimizer = run.create_optimizer()
    rate = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    trained = {n: p for n, p in run.trainee.named_parameters() if p.requires_grad}
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(rate) == len(trained)
    backbone = run.encoder.st[0].auto_model
    prefix, count = layers(backbone)
    assert count >= 2
    top = {n: rate[id(p)] for n, p in backbone.named_parameters() if id(p) in rate}
    for k in range(count):
        found = {v for n, v in top.items() if n.startswith(f"{prefix}.{k}.")}
        assert found == {1e-3 * 0.5 ** (count - 1 - k)}
    assert {v for n, v in top.items() if n.startswith("embeddings.")} == {1e-3 * 0.5**count}
    assert {rate[id(p)] for n, p in trained.items() if n.startswith("objectives.")} == {1e-2}
    assert {rate[id(p)] for n, p in trained.items() if n.startswith("encoder.head")} == {1e-3}
    assert optimizer.param_groups[0]["lr"] == 1e-3  # what the log shows
    plain = [group for group in optimizer.param_groups if group["weight_decay"] == 0]
    assert all(p.ndim == 1 or p.ndim == 0 for group in plain for p in group["params"])


def test_without_a_decay_there_are_the_three_groups(base: Path, tmp_path: Path) -> None:
    run = trainer(recipe(base), tmp_path)
    assert [group["lr"] for group in run.create_optimizer().param_groups] == [1e-3] * 3
    assert not run.optimization._below(run.trainee.encoder)


def test_depths_follow_the_names_of_the_layers() -> None:
    parts = {"wte": nn.Embedding(3, 2), "h": nn.ModuleList([nn.Linear(2, 2)]), "norm": nn.LayerNorm(2)}
    found = depths(nn.ModuleDict(parts))
    assert found == {"wte.weight": 1, "h.0.weight": 0, "h.0.bias": 0, "norm.weight": 0, "norm.bias": 0}
    assert depths(nn.Linear(2, 2)) == {"weight": 0, "bias": 0}


def test_lion_with_rates_by_layer_resumes_bit_by_bit(base: Path, tmp_path: Path) -> None:
    asked = recipe(base, optimizer="lion", betas=(0.95, 0.98), layer_decay=0.7, steps=4, save_every=2, accumulation=1)
    whole = trainer(asked, tmp_path / "whole")
    whole.train()
    assert isinstance(getattr(whole.optimizer, "optimizer", None), Lion)  # accelerate's is around it
    assert whole.create_optimizer().param_groups[0]["betas"] == (0.95, 0.98)
    again = trainer(asked, tmp_path / "again")
    again.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-2"))
    one, two = state(whole), state(again)
    assert one.keys() == two.keys() and all(torch.equal(one[n], two[n]) for n in one)


def test_betas_reach_adam(base: Path, tmp_path: Path) -> None:
    run = trainer(recipe(base, betas=(0.8, 0.95)), tmp_path)
    assert run.create_optimizer().param_groups[0]["betas"] == (0.8, 0.95)
    assert "adam_beta1" not in Optimization().arguments()


def test_keys_that_are_null_do_not_change_a_recipe(base: Path) -> None:
    assert recipe_hash(recipe(base)) == recipe_hash(recipe(base, betas=None, layer_decay=None))
    assert recipe_hash(recipe(base)) != recipe_hash(recipe(base, layer_decay=0.9))
