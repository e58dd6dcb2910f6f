"""What has vectors of its own: weights, prompts' texts, lengths, dimensions; not names or folders."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from embedkit.errors import RecipeError
from embedkit.model.running.encoder import Encoder
from embedkit.recipe.schema import Model
from embedkit.vectors.encoding import encode_into
from embedkit.vectors.space import Embedder, Space
from embedkit.vectors.store import VectorStore
from tests.device import DEVICE
from tests.tiny import sentences, tiny_bert

SPACE = Space("a", 4)
TEXTS = sentences(30)


def load(path: Path, **options: object) -> Encoder:
    return Encoder.load(Model.model_validate({"base": str(path), **options}), device=DEVICE)


def test_every_part_of_a_space_counts() -> None:
    changes = [
        {"model": "b"},
        {"dim": 5},
        {"prompt": "query: "},
        {"max_length": 4},
        {"dtype": "float16"},
        {"normalized": True},
    ]
    digests = {SPACE.digest, *(replace(SPACE, **change).digest for change in changes)}
    assert len(digests) == len(changes) + 1 and Space("a", 4).digest == SPACE.digest


@pytest.mark.parametrize("wrong", [{"dim": 0}, {"dtype": "int8"}])
def test_spaces_that_cannot_be(wrong: dict[str, object]) -> None:
    with pytest.raises(RecipeError):
        replace(SPACE, **wrong)


def test_vectors_are_the_encoders_cut_and_scaled(tmp_path: Path) -> None:
    encoder = load(tiny_bert(tmp_path / "m"), prompts={"document": "ba "})
    plain = encoder.encode(TEXTS, role="document", max_length=6)
    made = Embedder.of(encoder, role="document", max_length=6, dim=5)
    np.testing.assert_array_equal(made.encode(TEXTS), plain[:, :5])
    scaled = Embedder.of(encoder, role="document", max_length=6, dim=5, normalize=True)
    expected = plain[:, :5] / np.linalg.norm(plain[:, :5], axis=1, keepdims=True)
    np.testing.assert_allclose(scaled.encode(TEXTS), expected, atol=1e-6)
    assert (made.space.prompt, made.space.max_length, made.space.dim) == ("ba ", 6, 5)
    assert made.space != scaled.space
    with pytest.raises(RecipeError, match="33 dimensions asked of embeddings that have 32"):
        Embedder.of(encoder, dim=33)


def test_roles_with_one_prompt_share_vectors_and_with_two_do_not(tmp_path: Path) -> None:
    base = tiny_bert(tmp_path / "m")
    same, other = load(base), load(base, prompts={"query": "ba "})
    assert Embedder.of(same, role="query").space == Embedder.of(same, role="document").space
    assert Embedder.of(other, role="query").space != Embedder.of(other, role="document").space


def test_a_model_never_gets_the_vectors_of_another_of_the_same_name_and_place(tmp_path: Path) -> None:
    """Names and folders are no identity: what a cache by name hands out is another model's."""
    store, found = VectorStore(tmp_path / "store"), []
    for seed in (0, 1):
        encoder = load(tiny_bert(tmp_path / "model", seed=seed))
        made = Embedder.of(encoder)
        found.append(encode_into(store.of(made.space), TEXTS, made.encode)[:])
        np.testing.assert_allclose(found[-1], encoder.encode(TEXTS), atol=1e-6)
    assert np.abs(found[0] - found[1]).max() > 0.1


def test_a_model_that_trained_on_gets_new_vectors(tmp_path: Path) -> None:
    encoder, store = load(tiny_bert(tmp_path / "model")), VectorStore(tmp_path / "store")
    before = Embedder.of(encoder)
    encode_into(store.of(before.space), TEXTS, before.encode)
    with torch.no_grad():
        next(encoder.module.parameters()).add_(0.01)
    after = Embedder.of(encoder)
    shelf = store.of(after.space)
    assert after.space != before.space and len(shelf.missing(TEXTS)) == len(TEXTS)
    np.testing.assert_allclose(encode_into(shelf, TEXTS, after.encode)[:], encoder.encode(TEXTS), atol=1e-6)
