from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from embedkit.model.reading import tokens
from embedkit.model.running import inference
from embedkit.model.running.encoder import Encoder
from tests.tiny import sentences

Load = Callable[..., Encoder]
PROMPTS = {"query": "bade: ", "document": "Defi "}


@pytest.mark.parametrize("role", ["query", "document"])
@pytest.mark.parametrize(
    "options",
    [{}, {"prompts": PROMPTS}, {"prompts": PROMPTS, "include_prompt_in_pooling": False}, {"head": {"keep": True}}],
    ids=["plain", "prompts", "prompts-excluded", "head"],
)
def test_encode_is_sentence_transformers_encode(
    load: Load, options: dict[str, Any], role: str, texts: list[str]
) -> None:
    encoder = load(normalize=True, **options)
    ours = encoder.encode(texts, role=role)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, encoder.st.encode(texts, prompt_name=role), atol=1e-6)
    method = encoder.st.encode_query if role == "query" else encoder.st.encode_document
    np.testing.assert_allclose(ours, method(texts), atol=1e-6)


@pytest.mark.parametrize("batch_tokens", [16, 40, 100_000])
def test_batches_do_not_show(load: Load, batch_tokens: int, texts: list[str]) -> None:
    encoder = load(normalize=True)
    np.testing.assert_allclose(encoder.encode(texts, batch_tokens=batch_tokens), encoder.st.encode(texts), atol=1e-6)


def test_chunks_do_not_show(load: Load, texts: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = load(normalize=True)
    whole = encoder.encode(texts)
    monkeypatch.setattr(inference, "CHUNK", 7)
    np.testing.assert_allclose(encoder.encode(texts, progress=True), whole, atol=1e-6)


def test_texts_are_tokenised_while_a_gpu_works(load: Load, texts: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer at a time, in fewer batches, with the same vectors; what comes back does so once a chunk."""
    encoder = load(normalize=True)
    whole, tokenise, read = encoder.encode(texts), tokens.tokenize, []
    sizes: list[int] = []
    monkeypatch.setattr(inference, "works_behind", lambda device: True)
    monkeypatch.setattr(inference, "AHEAD", 3)
    monkeypatch.setattr(inference, "CHUNK", 8)
    monkeypatch.setattr(
        tokens, "tokenize", lambda st, some, *more: sizes.append(len(some)) or tokenise(st, some, *more)
    )
    each = inference.each_batch
    monkeypatch.setattr(
        inference,
        "each_batch",
        lambda m, t, keep, take, **o: each(m, t, keep, lambda d: read.append(1) or take(d), **o),
    )
    count = 20
    found = encoder.encode((texts * count)[:count], batch_tokens=16)
    np.testing.assert_allclose(found, (np.tile(whole, (count, 1)))[:count], atol=1e-6)
    assert sizes == [3, 3, 2, 3, 3, 2, 3, 1] and len(read) == 3


@pytest.mark.parametrize(
    ("packs", "device", "asked", "budget"),
    [(True, "cpu", 8192, 2048), (True, "cpu", 512, 512), (True, "cuda", 8192, 32_768), (False, "cuda", 8192, 8192)],
)
def test_tokens_of_a_batch(packs: bool, device: str, asked: int, budget: int) -> None:
    assert inference._budget(asked, packs, torch.device(device)) == budget


def test_max_length_of_one_call(load: Load) -> None:
    encoder = load()
    long, short = "bade defi goku lame nipo", "bade defi goku"
    np.testing.assert_array_equal(encoder.encode([long], max_length=5), encoder.encode([short]))
    assert np.abs(encoder.encode([long]) - encoder.encode([short])).max() > 1e-3


def test_normalize_of_one_call(load: Load, texts: list[str]) -> None:
    encoder = load()
    np.testing.assert_allclose(np.linalg.norm(encoder.encode(texts, normalize=True), axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(
        encoder.encode(texts, normalize=True), encoder.st.encode(texts, normalize_embeddings=True), atol=1e-6
    )


def test_truncated_models_stay_truncated(load: Load, texts: list[str]) -> None:
    encoder = load()
    encoder.st.truncate_dim = 8
    np.testing.assert_allclose(encoder.encode(texts), encoder.st.encode(texts), atol=5e-6)
    assert encoder.encode([]).shape == (0, 8)


def test_training_goes_on_as_it_was(load: Load) -> None:
    encoder = load(head={"keep": False})
    encoder.module.train()
    encoder.st[0].auto_model.embeddings.eval()
    modes = [m.training for m in encoder.module.modules()]
    state = torch.get_rng_state()
    encoder.encode(sentences(5))
    assert [m.training for m in encoder.module.modules()] == modes
    assert torch.equal(torch.get_rng_state(), state)


def test_nothing_gives_nothing(load: Load) -> None:
    assert load().encode([]).shape == (0, 32)


def test_a_document_prompt_under_another_name(load: Load, texts: list[str]) -> None:
    """E5 calls it passage; `encode_document` looks there too."""
    encoder = load()
    encoder.st.prompts = {"query": "q ", "passage": "bade "}
    np.testing.assert_allclose(
        encoder.encode(texts, role="document", normalize=True),
        encoder.st.encode_document(texts, normalize_embeddings=True),
        atol=1e-6,
    )


def test_batches_keep_the_budget_and_every_row() -> None:
    lengths = [3, 50, 7, 7, 1, 20, 9, 2]
    parts = list(inference.batches(lengths, 20))
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(lengths)))
    for part in parts:
        assert len(part) == 1 or max(lengths[i] for i in part) * len(part) <= 20
