"""A student of one vector per token: its numbers by a plain loop, its likeness to model2vec's own, what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sklearn.decomposition import PCA

from embedkit.errors import RecipeError
from embedkit.model.exporting.distilling import distil
from tests.model.exporting.conftest import saved
from tests.tiny import sentences

pytest.importorskip("model2vec.distill")
TEXTS = sentences(30, seed=5)


@pytest.fixture(scope="module", params=["mean", "cls"])
def plain(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> SentenceTransformer:
    folder = saved(tmp_path_factory.mktemp("distilling"), pooling=request.param)
    return SentenceTransformer(str(folder), device="cpu")


def by_loop(st: SentenceTransformer, student: SentenceTransformer, dim: int) -> np.ndarray:
    """The vectors of the student's tokens: each alone through the model, PCA, weights by rank."""
    tokens = [token for token, _ in sorted(student[0].tokenizer.get_vocab().items(), key=lambda item: item[1])]
    first = st[0]
    vectors = []
    for token in tokens:
        ids = first.tokenizer.convert_tokens_to_ids(["[CLS]", token, "[SEP]"])
        with torch.no_grad():
            states = first.auto_model.eval()(input_ids=torch.tensor([ids])).last_hidden_state[0]
        vectors.append((states[0] if st[1].pooling_mode == "cls" else states.mean(0)).numpy())
    found = PCA(dim, svd_solver="full").fit_transform(np.array(vectors))
    rank = np.arange(2, len(tokens) + 2)
    p = (1 / rank) / (1 / rank).sum()
    found = found * (1e-4 / (1e-4 + p))[:, None]
    found[tokens.index("[UNK]")] = 0
    return found


def test_vectors_are_those_of_a_plain_loop(plain: SentenceTransformer) -> None:
    before = {name: value.clone() for name, value in plain.state_dict().items()}
    student = distil(plain, 16)
    got = student[0].embedding.weight.detach().numpy()
    want = by_loop(plain, student, 16)
    assert got.shape == want.shape and got.dtype == np.float32
    assert np.allclose(got @ got.T, want @ want.T, rtol=1e-3, atol=1e-5), "but for the signs of PCA"
    assert all(torch.equal(value, before[name]) for name, value in plain.state_dict().items()), "the model stays"
    assert student.similarity_fn_name == "cosine" and student.encode(TEXTS).shape == (30, 16)


def test_texts_are_embedded_as_by_model2vec(plain: SentenceTransformer) -> None:
    from model2vec import StaticModel

    student = distil(plain)
    own = StaticModel(
        vectors=student[0].embedding.weight.detach().numpy(), tokenizer=student[0].tokenizer, normalize=True
    )
    texts = [*TEXTS, "ba \u4e2d de"]  # a token that is unknown
    assert np.allclose(student.encode(texts), own.encode(texts), atol=1e-6)
    assert student.encode(texts).shape[1] == 32, "no more than the model has"


def test_what_model2vec_does_not_read_is_refused(tmp_path: Path) -> None:
    headed = SentenceTransformer(str(saved(tmp_path / "a", head={"dim": 8, "keep": True})), device="cpu")
    with pytest.raises(RecipeError, match="modules are Transformer, Pooling, Dense"):
        distil(headed)
    other = SentenceTransformer(str(saved(tmp_path / "b", pooling="max")), device="cpu")
    with pytest.raises(RecipeError, match="model2vec has no pooling max"):
        distil(other)
    with pytest.raises(RecipeError, match="no 33 directions to keep"):
        distil(SentenceTransformer(str(saved(tmp_path / "c")), device="cpu"), 33)
