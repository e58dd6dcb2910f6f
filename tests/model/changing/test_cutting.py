"""Cutting embeddings as part of the model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize

from embedkit.errors import RecipeError
from embedkit.model.changing.cutting import cut
from embedkit.model.running.encoder import Encoder
from embedkit.recipe.schema import Model
from tests.tiny import sentences, tiny_bert


@pytest.mark.parametrize("normalized", [False, True])
def test_the_first_numbers_after_saving(tmp_path: Path, normalized: bool) -> None:
    encoder = Encoder.load(Model(base=str(tiny_bert(tmp_path / "bert", layers=1)), pooling="mean"), device="cpu")
    if normalized:
        encoder.st.append(Normalize())
    texts = sentences(5)
    whole = encoder.encode(texts)
    cut(encoder.st, 12)
    want = whole[:, :12]
    want = want / np.linalg.norm(want, axis=1, keepdims=True) if normalized else want
    assert encoder.dim == 12 and np.allclose(encoder.encode(texts), want, atol=1e-6)
    encoder.save(tmp_path / "cut")
    assert np.allclose(SentenceTransformer(str(tmp_path / "cut"), device="cpu").encode(texts), want, atol=1e-6)
    for dim in (12, 13, 0):
        with pytest.raises(RecipeError, match=f"12 numbers cannot be cut to {dim}"):
            cut(encoder.st, dim)
