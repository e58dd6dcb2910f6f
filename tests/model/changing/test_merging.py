"""Averages of models, by value; what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from embedkit.errors import RecipeError
from embedkit.model.changing import merging
from embedkit.model.running.encoder import Encoder
from embedkit.recipe.schema import Model
from tests.tiny import tiny_bert


def encoder(folder: Path, seed: int = 0, **block: object) -> Encoder:
    path = tiny_bert(folder / f"bert-{seed}", seed=seed)
    return Encoder.load(Model(base=str(path), **{"pooling": "mean", **block}), device="cpu")


def test_linear_is_the_weighted_mean_and_leaves_whole_numbers_alone() -> None:
    a = {"w": torch.tensor([1.0, 2.0]), "n": torch.tensor([3])}
    b = {"w": torch.tensor([5.0, -2.0]), "n": torch.tensor([7])}
    found = merging.linear([a, b], [3, 1])
    assert found["w"].tolist() == [2.0, 1.0] and found["n"].tolist() == [3]
    assert found["w"].dtype == torch.float32


def test_slerp_keeps_the_norm_and_halves_the_angle() -> None:
    a, b = {"w": torch.tensor([1.0, 0.0])}, {"w": torch.tensor([0.0, 1.0])}
    assert torch.allclose(merging.slerp(a, b, 0.5)["w"], torch.tensor([0.5, 0.5]).sqrt())
    assert torch.allclose(merging.slerp(a, b, 0.25)["w"], torch.tensor([np.cos(np.pi / 8), np.sin(np.pi / 8)]).float())
    for share, want in ((0.0, a), (1.0, b)):
        assert torch.allclose(merging.slerp(a, b, share)["w"], want["w"], atol=1e-7)


def test_slerp_of_parallel_and_of_empty_tensors_is_linear() -> None:
    a = {"w": torch.tensor([1.0, 1.0]), "z": torch.zeros(2)}
    b = {"w": torch.tensor([3.0, 3.0]), "z": torch.ones(2)}
    found = merging.slerp(a, b, 0.5)
    assert found["w"].tolist() == [2.0, 2.0] and found["z"].tolist() == [0.5, 0.5]


def test_a_model_merged_with_itself_stays_what_it_is(tmp_path: Path) -> None:
    first, second = encoder(tmp_path), encoder(tmp_path)
    before = first.encode(["ba de fi"])
    assert np.allclose(merging.merged([first, second], [1, 1]).encode(["ba de fi"]), before, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"pooling": "cls"}, "modules"),
        ({"max_length": 16}, "maximal length"),
        ({"prompts": {"query": "q: "}}, "prompts"),
    ],
)
def test_models_of_other_settings_are_refused(tmp_path: Path, change: dict[str, object], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        merging.refuse_other_kinds(encoder(tmp_path), encoder(tmp_path, 1, **change), ("a", "b"))


def test_models_of_other_shapes_are_refused(tmp_path: Path) -> None:
    wide = tiny_bert(tmp_path / "wide", hidden=64)
    with pytest.raises(RecipeError, match="a and b"):
        other = Encoder.load(Model(base=str(wide), pooling="mean"), device="cpu")
        merging.refuse_other_kinds(encoder(tmp_path), other, ("a", "b"))


@pytest.mark.parametrize(
    ("count", "weights", "method"),
    [
        (3, [1, 1, 1], "slerp"),
        (1, [1], "linear"),
        (2, [1], "linear"),
        (2, [0, 0], "linear"),
        (2, [-1, 2], "linear"),
        (2, [float("nan"), 1], "linear"),
    ],
)
def test_weights_that_are_no_shares(count: int, weights: list[float], method: merging.Method) -> None:
    with pytest.raises(RecipeError):
        merging.check_weights(count, weights, method)
