"""Static models are read, used, trained and saved as sentence-transformers has them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding

from embedkit.errors import RecipeError
from embedkit.model.exporting.loading import Exported
from embedkit.model.exporting.targets import TARGETS
from embedkit.model.reading import static, structure
from embedkit.model.running.encoder import Encoder
from embedkit.recipe.schema import Model
from embedkit.types import Row
from tests.tiny import sentences, tiny_static

TEXTS = [*sentences(20, seed=1), "", "ba", " ".join(sentences(30))]
"""The last is longer than a transformer of these tests keeps."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A static model of 12 numbers, with a prompt."""
    return tiny_static(tmp_path_factory.mktemp("static") / "model", prompts={"query": "ku: ", "document": ""})


@pytest.fixture(scope="module")
def encoder(folder: Path) -> Encoder:
    return Encoder.load(Model(base=str(folder)), device="cpu")


def test_embeddings_are_the_mean_of_the_tokens(folder: Path, encoder: Encoder) -> None:
    st = SentenceTransformer(str(folder), device="cpu")
    for role, prompt in (("query", "ku: "), ("document", "")):
        found = encoder.encode(TEXTS, role=role)
        assert np.allclose(found, st.encode(TEXTS, prompt=prompt or None), atol=1e-6), role
    table, tokenizer = st[0].embedding.weight.detach().numpy(), st[0].tokenizer
    for text, row in zip(TEXTS, encoder.encode(TEXTS, role="document"), strict=True):
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        mean = table[ids].mean(axis=0) if ids else np.zeros(12)
        assert np.allclose(row, mean / max(float(np.linalg.norm(mean)), 1e-12), atol=1e-6)
    assert encoder.longest is None and encoder.dim == 12 and structure.kept_length(st) is None


def test_a_length_cuts_tokens(folder: Path, encoder: Encoder) -> None:
    """A task may ask for it; sentence-transformers has no way to."""
    words = [" ".join(text.split()[:3]) for text in TEXTS]
    want = encoder.encode(words, role="document")
    assert np.allclose(encoder.encode(TEXTS, role="document", max_length=3), want, atol=1e-6)
    exported = Exported.load(folder, TARGETS["torch"])
    assert np.allclose(exported.encode(TEXTS, role="document", max_length=3), want, atol=1e-6)
    assert np.allclose(exported.encode(TEXTS), encoder.encode(TEXTS), atol=1e-6), "the length is that of one call"


def test_saved_and_known_again(folder: Path, encoder: Encoder, tmp_path: Path) -> None:
    encoder.save(tmp_path / "again")
    again = Encoder.load(Model(base=str(tmp_path / "again")), device="cpu")
    assert again.fingerprint() == encoder.fingerprint()
    assert np.array_equal(again.encode(TEXTS), encoder.encode(TEXTS))
    with torch.no_grad():
        again.st[0].embedding.weight[7, 0] += 1
    assert again.fingerprint() != encoder.fingerprint()
    prompted = Encoder.load(Model(base=str(folder), prompts={"query": "ba: "}), device="cpu")
    assert prompted.fingerprint() != encoder.fingerprint()


def test_only_the_vectors_of_a_batch_have_gradient(folder: Path) -> None:
    encoder = Encoder.load(Model(base=str(folder), normalize=False, head={"dim": 4}), device="cpu")
    ids, extra = encoder.tokenize([Row("ba de", 0, 0, "document"), Row("de fi go", 0, 1, "document")])
    module = encoder.module.train()
    out = module(module.layout(ids, extra))
    assert out.shape == (2, 4) and encoder.trains() and not module.packs
    out.sum().backward()
    used = encoder.st[0].embedding.weight.grad.abs().sum(dim=1) > 0
    assert set(used.nonzero()[:, 0].tolist()) == {i for row in ids for i in row}


def test_what_only_a_transformer_has_is_refused(folder: Path, encoder: Encoder) -> None:
    options = {"pooling": "cls", "max_length": 32, "lora": {}, "template": {}, "freeze": ["all"], "dropout": 0.2}
    for key, value in options.items():
        with pytest.raises(RecipeError, match="the model is static") as caught:
            Encoder.load(Model.model_validate({"base": str(folder), key: value}), device="cpu")
        assert caught.value.where == f"model.{key}"
    with pytest.raises(RecipeError, match="auxiliary loss mlm needs a transformer"):
        structure.transformer(encoder.st, "auxiliary loss mlm")


def test_a_table_without_vectors_for_all_tokens(folder: Path, tmp_path: Path) -> None:
    st = SentenceTransformer(str(folder), device="cpu")
    small = StaticEmbedding(st[0].tokenizer, embedding_weights=st[0].embedding.weight[:50].detach())
    SentenceTransformer(modules=[small], device="cpu").save(str(tmp_path / "small"), create_model_card=False)
    with pytest.raises(RecipeError, match="tokens and the table of a static model 50 vectors"):
        Encoder.load(Model(base=str(tmp_path / "small")), device="cpu")


def test_rows_end_to_end() -> None:
    found = static.bags([[3, 4], [], [5]], torch.device("cpu"))
    assert found["input_ids"].tolist() == [3, 4, 5] and found["offsets"].tolist() == [0, 2, 2]
