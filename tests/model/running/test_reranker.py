"""A reranker is sentence-transformers' CrossEncoder: the same scores, packed or padded, in memory or read back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import CrossEncoder

from embedkit.errors import RecipeError
from embedkit.model.running.reranker import Reranker, load
from embedkit.recipe.schema import Model
from tests.device import DEVICE
from tests.model.architectures import build
from tests.tiny import sentences, tiny_bert

PAIRS = list(zip(sentences(24, seed=3), sentences(24, seed=4, longest=60), strict=True))
PAIRS += [("", "bade"), ("bade", ""), (" ".join(sentences(12)), "defi"), ("x", " ".join(sentences(12)))]

Load = Callable[..., Reranker]


@pytest.fixture(scope="module")
def rerank(bert: Path) -> Load:
    def made(base: Path | None = None, seed: int = 0, **options: Any) -> Reranker:
        block = Model.model_validate({"kind": "reranker", "base": str(base or bert), **options})
        found = load(block, device=DEVICE, seed=seed)
        assert isinstance(found, Reranker)
        return found

    return made


def logits(model: CrossEncoder) -> np.ndarray:
    given = [list(pair) for pair in PAIRS]
    return model.predict(given, activation_fn=torch.nn.Identity(), show_progress_bar=False)


def test_the_scores_are_those_of_cross_encoder(rerank: Load) -> None:
    reranker = rerank()
    found = reranker.score(PAIRS)
    assert found.dtype == np.float32 and np.ptp(found) > 0.1
    np.testing.assert_allclose(found, logits(reranker.st), atol=1e-5)
    alone = np.concatenate([reranker.score([pair]) for pair in PAIRS])
    np.testing.assert_allclose(found, alone, atol=1e-5)


def test_packed_and_padded_scores_are_equal(rerank: Load) -> None:
    reranker = rerank()
    assert reranker.module.packs
    packed = reranker.score(PAIRS)
    reranker.module.packs = False
    np.testing.assert_allclose(packed, reranker.score(PAIRS), atol=1e-5)


@pytest.mark.parametrize(
    ("family", "options", "packs"),
    [
        ("roberta", {}, True),
        ("distilbert", {}, True),
        ("modernbert", {}, True),
        ("modernbert", {"classifier_pooling": "mean"}, False),
        ("mpnet", {}, False),
    ],
)
def test_other_families(rerank: Load, family: str, options: dict[str, Any], packs: bool, tmp_path: Path) -> None:
    """A head that reads all tokens, or attention that cannot be exchanged, is given padded rows."""
    reranker = rerank(build(family, tmp_path, **options))
    assert reranker.module.packs == packs
    reference = CrossEncoder(str(tmp_path), num_labels=1, device="cpu")
    reference.load_state_dict(reranker.st.state_dict())
    reference.max_seq_length = reranker.st.max_seq_length
    np.testing.assert_allclose(reranker.score(PAIRS), logits(reference), atol=1e-5)


def test_a_saved_reranker_is_read_by_sentence_transformers_and_by_us(rerank: Load, tmp_path: Path) -> None:
    reranker = rerank(max_length=40)
    reranker.save(tmp_path)
    plain = CrossEncoder(str(tmp_path), device=DEVICE)
    np.testing.assert_array_equal(logits(plain), logits(CrossEncoder(str(tmp_path), device=DEVICE)))
    np.testing.assert_allclose(logits(plain), reranker.score(PAIRS), atol=1e-5)
    assert plain.max_seq_length == 40 and plain.num_labels == 1
    again = rerank(tmp_path)
    assert not again.new_head and again.fingerprint() == reranker.fingerprint()


def test_a_new_head_comes_from_the_seed_and_leaves_the_random_state(rerank: Load) -> None:
    before = torch.get_rng_state()
    first, second, other = rerank(seed=1), rerank(seed=1), rerank(seed=2)
    assert torch.equal(torch.get_rng_state(), before)
    assert first.new_head
    assert first.fingerprint() == second.fingerprint() != other.fingerprint()
    backbone = [m.st[0].auto_model.base_model.encoder.state_dict() for m in (first, other)]
    assert all(torch.equal(a, b) for a, b in zip(backbone[0].values(), backbone[1].values(), strict=True))


def test_the_fingerprint_knows_the_activation(rerank: Load) -> None:
    reranker = rerank()
    before = reranker.fingerprint()
    reranker.st.activation_fn = torch.nn.Identity()
    assert reranker.fingerprint() != before


def test_parts_can_be_frozen(rerank: Load) -> None:
    reranker = rerank(freeze=["embeddings", "layers:0-1"])
    trained = {name for name, p in reranker.st.named_parameters() if p.requires_grad}
    assert any("classifier" in name for name in trained) and any(".layer.2." in name for name in trained)
    assert not any("embeddings" in name or ".layer.1." in name for name in trained)


def test_a_classifier_of_several_labels_is_refused(rerank: Load, bert: Path, tmp_path: Path) -> None:
    CrossEncoder(str(bert), num_labels=3, device="cpu").save(str(tmp_path), create_model_card=False)
    with pytest.raises(RecipeError, match="3 labels") as caught:
        rerank(tmp_path)
    assert caught.value.where == "model.base" and "one label" in caught.value.cure


def test_weights_that_lack_a_layer_are_refused(rerank: Load, tmp_path: Path) -> None:
    """Only what belongs to the head may be new."""
    from safetensors.torch import load_file, save_file

    tiny_bert(tmp_path, layers=2)
    state = load_file(tmp_path / "model.safetensors")
    kept = {k: v for k, v in state.items() if "layer.1.output" not in k}
    save_file(kept, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(RecipeError, match=r"layer\.1\.output"):
        rerank(tmp_path)


def test_more_tokens_than_positions_are_refused(rerank: Load) -> None:
    with pytest.raises(RecipeError, match="64 positions"):
        rerank(max_length=65)


def test_scores_that_are_no_numbers_are_refused(rerank: Load) -> None:
    reranker = rerank()
    with torch.no_grad():
        reranker.st[0].auto_model.classifier.bias.fill_(float("nan"))
    with pytest.raises(Exception, match="scores are not finite") as caught:
        reranker.score(PAIRS)
    assert f"{len(PAIRS)} of {len(PAIRS)}" in str(caught.value)


def test_no_pairs_no_scores(rerank: Load) -> None:
    assert rerank().score([]).shape == (0,)
