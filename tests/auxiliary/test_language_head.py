"""Masked-LM heads of several architectures: taken out, used alone, put back into a saved model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForMaskedLM, AutoTokenizer

from embedkit.auxiliary.language_head import load_language_head, transformer_origin
from embedkit.auxiliary.mlm import MaskedLM
from embedkit.errors import RecipeError
from tests.auxiliary.models import FAMILIES, load, tiny_masked_lm
from tests.device import DEVICE
from tests.model.architectures import build
from tests.tiny import sentences, tiny_bert


@pytest.mark.parametrize("family", FAMILIES)
def test_the_head_gives_the_logits_of_the_whole_model(family: str, tmp_path: Path) -> None:
    base = tiny_masked_lm(tmp_path / "base", family)
    encoder = load(base)
    head = load_language_head(
        transformer_origin(encoder), table=encoder.st[0].auto_model.get_input_embeddings(), where="here"
    )
    assert not head.to(DEVICE).new
    batch = AutoTokenizer.from_pretrained(base)(["ba de fi go ku"], return_tensors="pt").to(DEVICE)
    ids = {"input_ids": batch["input_ids"]}
    whole = AutoModelForMaskedLM.from_pretrained(base, dtype=torch.float32).to(DEVICE).eval()
    encoder.module.eval(), head.eval()
    with torch.no_grad():
        want = whole(**ids).logits[0]
        got = head(encoder.st[0].auto_model(**ids)[0][0])
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)


def test_the_tied_output_is_the_encoders_table_and_no_parameter_of_the_head(tmp_path: Path) -> None:
    encoder = load(tiny_masked_lm(tmp_path))
    table = encoder.st[0].auto_model.get_input_embeddings()
    head = load_language_head(transformer_origin(encoder), table=table).to(DEVICE)
    assert all(p is not table.weight for p in head.parameters())
    assert not any("decoder.weight" in name for name in head.state_dict())
    before = head(torch.ones(1, 32, device=DEVICE))
    with torch.no_grad():
        table.weight[7] += 1.0
    assert (head(torch.ones(1, 32, device=DEVICE)) != before).nonzero()[:, 1].tolist() == [7]
    head(torch.ones(1, 32, device=DEVICE)).sum().backward()
    assert table.weight.grad is not None


def test_an_untied_output_is_a_parameter(tmp_path: Path) -> None:
    encoder = load(tiny_masked_lm(tmp_path, tie_word_embeddings=False))
    head = load_language_head(transformer_origin(encoder), table=encoder.st[0].auto_model.get_input_embeddings())
    assert any("decoder.weight" in name for name in head.state_dict())


def test_a_checkpoint_without_head_gets_a_new_one_and_says_so(tmp_path: Path) -> None:
    base = tiny_bert(tmp_path)
    state = torch.random.get_rng_state()
    made = [MaskedLM(encoder=load(base), seed=s) for s in (1, 1, 2)]
    assert torch.equal(state, torch.random.get_rng_state())
    assert all("holds no masked-LM head" in m.warnings[0] for m in made)
    first, again, other = (m.head.state_dict()["model.cls.predictions.transform.dense.weight"] for m in made)
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert abs(float(first.std()) / 0.2 - 1) < 0.1 and abs(float(first.mean())) < 0.05  # the config's initializer_range


def test_an_architecture_without_masked_lm_is_refused(tmp_path: Path) -> None:
    encoder = load(build("t5", tmp_path))
    with pytest.raises(RecipeError, match="cannot be loaded as a masked language model"):
        load_language_head(transformer_origin(encoder), where="auxiliary.mlm")


@pytest.mark.parametrize("family", FAMILIES)
def test_a_saved_model_is_a_sentence_transformer_and_a_masked_lm(family: str, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    encoder = load(tiny_masked_lm(tmp_path / "base", family))
    mlm = MaskedLM(encoder=encoder, seed=0)
    with torch.no_grad():  # as training would
        for p in (*encoder.module.parameters(), *mlm.parameters()):
            p.mul_(1.03)
    encoder.save(tmp_path / "run" / "model")
    mlm.export(tmp_path / "run")
    texts = sentences(5, seed=2)
    plain = SentenceTransformer(str(tmp_path / "run" / "model"), device=DEVICE)
    np.testing.assert_allclose(plain.encode(texts), encoder.encode(texts), atol=1e-5)
    again = load(tmp_path / "run" / "model")
    assert again.fingerprint() == encoder.fingerprint()

    whole, info = AutoModelForMaskedLM.from_pretrained(
        tmp_path / "run" / "model", output_loading_info=True, dtype=torch.float32
    )
    assert not info["missing_keys"]
    batch = AutoTokenizer.from_pretrained(tmp_path / "base")([texts[0]], return_tensors="pt").to(DEVICE)
    ids = {"input_ids": batch["input_ids"]}
    encoder.module.eval(), mlm.eval(), whole.to(DEVICE).eval()
    with torch.no_grad():
        torch.testing.assert_close(
            whole(**ids).logits[0], mlm.head(encoder.st[0].auto_model(**ids)[0][0]), rtol=1e-5, atol=1e-5
        )
    assert not MaskedLM(encoder=again, seed=0).head.new  # training goes on from it
