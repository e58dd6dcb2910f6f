"""A rationale behind every text: what is written, what is pooled, what is saved, and which models cannot."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from embedkit.errors import RecipeError
from embedkit.model.changing.rationale import RationaleTransformer
from embedkit.model.reading.loading import load_saved
from embedkit.model.running.encoder import Encoder
from embedkit.types import Row
from tests.auxiliary.models import WRITES, tiny_masked_lm, tiny_writer
from tests.device import DEVICE
from tests.model.architectures import build
from tests.tiny import sentences

Load = Callable[..., Encoder]
TEXTS = sentences(7, seed=5)


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("bases")
    return {family: tiny_writer(folder / family, family) for family in ("llama", "opt", "gemma")}


@pytest.mark.parametrize("family", ["llama", "opt", "gemma"])
def test_embeddings_are_those_of_the_likeliest_words_written_one_by_one(
    load: Load, bases: dict[str, Path], family: str
) -> None:
    encoder = load(bases[family], **WRITES)
    first = encoder.st[0]
    model = AutoModelForCausalLM.from_pretrained(bases[family], dtype=torch.float32).eval().to(DEVICE)
    expected, lengths = [], set()
    for text in TEXTS:
        ids = encoder.st.tokenizer(f"bade {text} fi :", add_special_tokens=False)["input_ids"]
        ids = [*encoder.st.tokenizer("a")["input_ids"][:1], *ids]
        start = len(ids)
        with torch.no_grad():
            while len(ids) - start < 6 and (len(ids) == start or ids[-1] not in first.ends):
                ids.append(int(model(torch.tensor([ids], device=DEVICE)).logits[0, -1].argmax()))
            out = model(torch.tensor([ids], device=DEVICE), output_hidden_states=True).hidden_states[-1][0]
        expected.append(out[2:].mean(0).cpu().numpy())  # behind [CLS] and `bade`
        lengths.add(len(ids) - start)
    assert first.before == 2 and (len(lengths) > 1 or family == "gemma")
    np.testing.assert_allclose(encoder.encode(TEXTS), np.stack(expected), atol=2e-5)


def test_without_tokens_it_is_the_prompt_alone(load: Load, bases: dict[str, Path]) -> None:
    none = load(bases["llama"], **{**WRITES, "rationale": {"tokens": 0}})
    model = AutoModelForCausalLM.from_pretrained(bases["llama"], dtype=torch.float32).eval().to(DEVICE)
    ids = none.tokenize([Row(TEXTS[0], 0, 0, "query")])[0][0]
    with torch.no_grad():
        states = model(torch.tensor([ids], device=DEVICE), output_hidden_states=True).hidden_states[-1][0]
    np.testing.assert_allclose(none.encode(TEXTS[:1])[0], states[2:].mean(0).cpu().numpy(), atol=1e-5)


def test_saved_and_read_back(load: Load, bases: dict[str, Path], tmp_path: Path) -> None:
    encoder = load(bases["llama"], **WRITES)
    expected = encoder.encode(TEXTS)
    encoder.save(tmp_path)
    saved = load_saved(tmp_path, DEVICE)
    assert isinstance(saved[0], RationaleTransformer)
    np.testing.assert_allclose(saved.encode(TEXTS), expected, atol=1e-5)
    again = load(tmp_path)
    assert again.fingerprint() == encoder.fingerprint()
    np.testing.assert_allclose(load(tmp_path, **WRITES).encode(TEXTS), expected, atol=1e-5)
    longer = load(tmp_path, rationale={"tokens": 9})
    assert longer.st[0].rationale == {"tokens": 9, "before": 2}
    assert longer.fingerprint() != encoder.fingerprint()
    whole = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    start = AutoModelForCausalLM.from_pretrained(bases["llama"]).eval()
    ids = torch.tensor([[2, 40, 41]])
    torch.testing.assert_close(whole(ids).logits, start(ids).logits)


def test_adapters_write_too(load: Load, bases: dict[str, Path], tmp_path: Path) -> None:
    pytest.importorskip("peft")
    encoder = load(bases["llama"], **WRITES, lora={"r": 2})
    with torch.no_grad():
        for name, parameter in encoder.st.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.3)
    expected = encoder.encode(TEXTS)
    assert np.abs(expected - load(bases["llama"], **WRITES).encode(TEXTS)).max() > 0.05
    encoder.save(tmp_path)
    np.testing.assert_allclose(load(tmp_path).encode(TEXTS), expected, atol=1e-4)


@pytest.mark.parametrize(
    ("family", "options", "said"),
    [
        ("llama", {"tie_word_embeddings": False}, "a matrix of its own"),
        ("gpt2", {}, "counts positions from the padding"),
        ("llama", {"eos_token_id": None}, "no end token"),
        ("bert", {}, "attends in both directions"),
    ],
)
def test_models_that_cannot_write_are_refused(
    load: Load, tmp_path: Path, family: str, options: dict[str, Any], said: str
) -> None:
    tied = {"tie_word_embeddings": True, **options}
    base = tiny_masked_lm(tmp_path) if family == "bert" else build(family, tmp_path, **tied)
    with pytest.raises(RecipeError, match=said):
        load(base, **WRITES)


def test_a_rationale_needs_words_that_ask_for_it(load: Load, bases: dict[str, Path]) -> None:
    with pytest.raises(RecipeError, match="the model has no template"):
        load(bases["llama"], rationale={"tokens": 4}, pooling="mean")
