"""A sparse encoder is sentence-transformers' SparseEncoder: its weights of words, an exact gradient, plain folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SparseEncoder
from sentence_transformers.sparse_encoder.losses import SparseMultipleNegativesRankingLoss, SpladeLoss

from embedkit.errors import RecipeError
from embedkit.model.running.encoder import Encoder
from embedkit.model.running.lexical import LexicalEncoder
from embedkit.model.running.reranker import load
from embedkit.objectives.base import Objective, build
from embedkit.recipe.schema import Model
from embedkit.train.step import Step, reference
from embedkit.types import RowBatch
from tests.auxiliary.models import row_batch, tiny_masked_lm
from tests.device import DEVICE, preprocessed
from tests.objectives import options as o
from tests.tiny import sentences, tiny_bert

TEXTS = [*sentences(14, seed=3), *sentences(4, seed=4, shortest=20, longest=50), "", "bade"]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_masked_lm(tmp_path_factory.mktemp("masked"))


def sparse(base: Path, **options: Any) -> LexicalEncoder:
    found = load(Model.model_validate({"kind": "sparse", "base": str(base), **options}), device=DEVICE)
    assert isinstance(found, LexicalEncoder)
    return found


def plain(model: SparseEncoder, texts: list[str] = TEXTS, prompt: str | None = None) -> np.ndarray:
    found: np.ndarray = model.encode(texts, prompt=prompt, convert_to_sparse_tensor=False).cpu().numpy()
    return found


def test_the_weights_are_those_of_sparse_encoder(base: Path) -> None:
    encoder = sparse(base)
    want = plain(SparseEncoder(str(base), device=DEVICE))
    found = encoder.encode_sparse(TEXTS)
    assert found.shape == (len(TEXTS), encoder.dim) == want.shape and found.dtype == np.float32
    assert 0 < found.nnz == np.count_nonzero(want) < want.size
    np.testing.assert_allclose(found.toarray(), want, atol=2e-5)
    np.testing.assert_allclose(encoder.encode(TEXTS), want, atol=2e-5)
    assert encoder.similarity == "dot" and encoder.encode_sparse([]).shape == (0, encoder.dim)


def test_packed_and_padded_rows_give_the_same(base: Path) -> None:
    encoder = sparse(base)
    assert encoder.module.packs
    packed = encoder.encode(TEXTS)
    encoder.module.packs = False
    np.testing.assert_allclose(packed, encoder.encode(TEXTS), atol=2e-5)
    np.testing.assert_allclose(packed[:1], encoder.encode(TEXTS[:1]), atol=2e-5)  # nothing is padded


def test_a_saved_encoder_is_read_by_sentence_transformers_and_by_us(base: Path, tmp_path: Path) -> None:
    encoder = sparse(base, max_length=20, prompts={"query": "bade "})
    encoder.save(tmp_path)
    read = SparseEncoder(str(tmp_path), device=DEVICE)
    np.testing.assert_allclose(plain(read, prompt="bade "), encoder.encode(TEXTS), atol=2e-5)
    np.testing.assert_allclose(
        read.encode_query(TEXTS, convert_to_sparse_tensor=False).cpu().numpy(), encoder.encode(TEXTS), atol=2e-5
    )
    again = sparse(tmp_path)
    assert again.fingerprint() == encoder.fingerprint() and read.max_seq_length == 20
    np.testing.assert_allclose(again.encode_sparse(TEXTS).toarray(), encoder.encode(TEXTS), atol=2e-5)


SPLADE = o.Sum(
    terms=(
        o.SumTerm(objective=o.InfoNCE(similarity="dot", temperature=1.0, mask_duplicates=False)),
        o.SumTerm(weight=2.0, objective=o.Flops(query=0.03, document=0.02)),
    )
)


def answer(encoder: LexicalEncoder, loss: Any) -> dict[str, torch.Tensor]:
    """The gradient by name, and the loss, of what `loss` does."""
    encoder.module.zero_grad()
    value = float(loss())
    found = {name: p.grad.clone() for name, p in encoder.st.named_parameters() if p.grad is not None}
    return found | {"loss": torch.tensor(value)}


def assert_near(got: dict[str, torch.Tensor], want: dict[str, torch.Tensor]) -> None:
    assert set(got) == set(want)
    largest = max(float(value.norm()) for value in want.values())
    for name, value in want.items():  # a key's bias has no gradient but rounding
        apart = float((got[name] - value).norm() / value.norm().clamp_min(1e-3 * largest))
        assert apart < 2e-4, (name, apart)


def backward(encoder: LexicalEncoder, objective: Objective, batch: RowBatch, **options: Any) -> float:
    step = Step(encoder, [objective], **options)
    loss = step(batch).loss
    step.finish(list(encoder.module.parameters()))
    return loss


def whole(encoder: LexicalEncoder, objective: Objective, batch: RowBatch) -> float:
    loss = reference(encoder, objective, batch)
    loss.backward()
    return float(loss.detach())


def test_micro_batches_and_reforwarding_do_not_change_the_gradient(base: Path) -> None:
    encoder, objective = sparse(base, dropout=0.0), build(SPLADE)
    encoder.module.train()
    encoder.use_sparse_token_gradients()
    want = answer(encoder, lambda: whole(encoder, objective, row_batch(encoder)))
    assert max(float(g.abs().max()) for n, g in want.items() if "embeddings" in n) > 1e-3
    for size, keep in ((None, True), (1, True), (5, False)):
        batch = row_batch(encoder, size=size)
        got = answer(encoder, lambda b=batch, k=keep: backward(encoder, objective, b, keep_graph=lambda _: k))
        assert_near(got, want)


def test_loss_and_gradient_are_those_of_splade_loss(base: Path) -> None:
    """sentence-transformers on the same texts: its ranking loss with scale 1, its two regularisers."""
    encoder, objective = sparse(base, dropout=0.0), build(SPLADE)
    encoder.module.train()
    batch = row_batch(encoder, views=2)
    queries, documents = batch.texts[0::2], batch.texts[1::2]
    got = answer(encoder, lambda: backward(encoder, objective, batch))
    st = encoder.st
    loss = SpladeLoss(
        st,
        SparseMultipleNegativesRankingLoss(st, scale=1.0),
        document_regularizer_weight=2 * 0.02,
        query_regularizer_weight=2 * 0.03,
    )

    def theirs() -> float:
        parts = loss([preprocessed(st, queries), preprocessed(st, documents)])
        total = sum(parts.values())
        total.backward()
        return float(total.detach())

    assert_near(got, answer(encoder, theirs))


def test_what_has_no_weights_of_words_is_refused(base: Path, tmp_path: Path) -> None:
    bare = tiny_bert(tmp_path / "bare")
    with pytest.raises(RecipeError, match="no masked-LM head"):
        sparse(bare)
    Encoder.load(Model.model_validate({"base": str(bare)}), device="cpu").save(tmp_path / "dense")
    with pytest.raises(RecipeError, match="it is a model of other embeddings: its modules are Transformer, Pooling"):
        sparse(tmp_path / "dense")
    sparse(base).save(tmp_path / "sparse")
    with pytest.raises(RecipeError, match="it is a sparse encoder") as refused:
        Encoder.load(Model.model_validate({"base": str(tmp_path / "sparse")}), device="cpu")
    assert "model.kind: sparse" in refused.value.cure
    SparseEncoder(str(bare), device="cpu").save(str(tmp_path / "csr"), create_model_card=False)
    with pytest.raises(RecipeError, match=r"sparse encoder of another kind: its modules are .*SparseAutoEncoder"):
        sparse(tmp_path / "csr")
