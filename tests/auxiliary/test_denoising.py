"""TSDAE: the loss of sentence-transformers, with embeddings that are there already."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers.sentence_transformer.losses import DenoisingAutoEncoderLoss

from embedkit.auxiliary.denoising import Denoising
from embedkit.errors import RecipeError
from embedkit.model.changing.dropout import CPUDropout
from embedkit.recipe.plan import plan
from embedkit.recipe.schema import Recipe
from tests.auxiliary.models import load, row_batch, tiny_masked_lm
from tests.device import DEVICE, preprocessed
from tests.tiny import sentences, tiny_bert
from tests.train.runs import trainer


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_masked_lm(tmp_path_factory.mktemp("base"))


def rivals(base: Path, batch: Any, tie: bool) -> tuple[float, dict[str, torch.Tensor]]:
    """Value and encoder gradients of sentence-transformers' own loss on (damaged, original) texts."""
    encoder = load(base, dropout=0.0, pooling="cls")
    encoder.st.train()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        loss = DenoisingAutoEncoderLoss(encoder.st, None if tie else str(base), tie_encoder_decoder=tie)
    for module in loss.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    loss.to(DEVICE)
    value = loss([preprocessed(encoder.st, batch.texts), preprocessed(encoder.st, batch.originals)], None)
    value.backward()
    return float(value.detach()), {n: p.grad for n, p in encoder.st.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("tie", [True, False])
def test_it_is_the_loss_of_sentence_transformers(base: Path, tie: bool) -> None:
    encoder = load(base, dropout=0.0, pooling="cls")
    tsdae = Denoising(tie=tie, encoder=encoder, seed=4)
    encoder.module.train(), tsdae.train()
    batch = row_batch(encoder, count=12, views=1, size=5)
    value, count = torch.zeros((), device=DEVICE), 0.0
    for rows in batch.micro_batches:
        drawn = tsdae.draw(batch, rows)
        count += tsdae.count(drawn)
        value = value + tsdae(drawn, encoder.embed(encoder.features(batch, rows))).value
    (value / count).backward()
    want, gradients = rivals(base, batch, tie)
    assert float((value / count).detach()) == pytest.approx(want, rel=1e-5)
    ours = {n: p.grad for n, p in encoder.st.named_parameters() if p.grad is not None}
    assert ours.keys() == gradients.keys()
    scale = max(float(g.abs().max()) for g in gradients.values())
    for name, gradient in gradients.items():
        assert float((ours[name] - gradient).abs().max()) < 1e-5 * scale, name


def test_tied_weights_are_the_encoders_and_train_once(base: Path) -> None:
    encoder = load(base)
    before = {n: p.clone() for n, p in encoder.module.named_parameters()}
    tsdae = Denoising(encoder=encoder, seed=4)
    assert all(torch.equal(p, before[n]) for n, p in encoder.module.named_parameters())
    decoder = dict(tsdae.loss.decoder.named_parameters())
    own = {n.replace("/", ".") for n, _ in tsdae.decoder.items()}
    assert all(("crossattention" in n) or n.startswith("cls.") for n in own)
    encoders = {id(p) for p in encoder.module.parameters()}
    assert {n for n, p in decoder.items() if id(p) not in encoders} == own
    assert not encoders & {id(p) for p in tsdae.parameters()}
    pooler = [p for n, p in encoder.module.named_parameters() if "pooler" in n]
    assert pooler and not any(p.requires_grad for p in pooler)


@pytest.mark.parametrize("tie", [True, False])
def test_the_decoder_stands_where_the_encoder_does(base: Path, tie: bool) -> None:
    """Tying hands the encoder parameters that were read to the CPU, after which it no longer says where it was."""
    encoder = load(base)
    encoder.module.to("meta")
    decoder = Denoising(tie=tie, encoder=encoder, seed=4).loss.decoder
    assert {t.device.type for t in (*decoder.parameters(), *decoder.buffers())} == {"meta"}
    assert not any(isinstance(m, CPUDropout) for m in decoder.modules())


def test_dropout_and_mode_reach_the_decoder(base: Path) -> None:
    tsdae = Denoising(encoder=load(base, dropout=0.25), seed=4)
    rates = {m.p for m in tsdae.loss.decoder.modules() if isinstance(m, torch.nn.Dropout)}
    assert rates == {0.25}
    tsdae.eval()
    assert not tsdae.loss.decoder.training
    tsdae.train()
    assert tsdae.loss.decoder.training


def test_damaged_text_goes_in_and_the_original_comes_out(base: Path, tmp_path: Path) -> None:
    texts = sentences(24, seed=8, shortest=6)
    options: dict[str, Any] = {
        "model": {"base": str(base), "max_length": 24, "pooling": "cls"},
        "data": {"sources": [{"rows": [{"text": t} for t in texts], "roles": {"text": "text"}}]},
        "views": {"count": 1, "transforms": [[{"name": "delete_words", "rate": 0.6}]]},
        "objective": "none",
        "auxiliary": ["tsdae"],
        "train": {"batch_size": 8, "steps": 12, "learning_rate": 3e-3, "device": DEVICE, "log_every": 1},
    }
    recipe = Recipe.model_validate(options)
    assert not plan(recipe).refusals
    t = trainer(recipe, tmp_path)
    batch = t.pipeline.batch(0, 0)
    drawn = t.engine.auxiliaries[0].draw(batch, np.arange(8))
    tokenizer = t.encoder.st.tokenizer
    decoded = tokenizer.batch_decode(drawn.input_ids, skip_special_tokens=True)
    seen = tokenizer.batch_decode(batch.input_ids, skip_special_tokens=True)
    assert set(decoded) <= set(texts)
    for long, short in zip(decoded, seen, strict=True):
        assert len(short.split()) == len(long.split()) - int(len(long.split()) * 0.6)
    t.train()
    losses = [line["tsdae_loss"] for line in t.state.log_history if "tsdae_loss" in line]
    assert np.mean(losses[-3:]) < np.mean(losses[:3]) - 0.3
    undamaged = Recipe.model_validate({**options, "views": {"count": 1}})
    assert any("no view damages" in w.what for w in plan(undamaged).warnings)


@pytest.mark.parametrize("family", ["distilbert", "mpnet", "modernbert"])
def test_an_architecture_that_cannot_decode_is_refused(family: str, tmp_path: Path) -> None:
    encoder = load(tiny_masked_lm(tmp_path, family))
    with pytest.raises(RecipeError, match=r"cannot be made a decoder|has no cross-attention"):
        Denoising(encoder=encoder, seed=0)


@pytest.mark.parametrize("family", ["roberta", "electra"])
def test_other_families(family: str, tmp_path: Path) -> None:
    encoder = load(tiny_masked_lm(tmp_path, family), pooling="cls")
    tsdae = Denoising(encoder=encoder, seed=0)
    batch = row_batch(encoder, views=1)
    rows = batch.micro_batches[0]
    out = tsdae(tsdae.draw(batch, rows), encoder.embed(encoder.features(batch, rows)))
    out.value.backward()
    assert any(p.grad is not None and float(p.grad.abs().max()) > 0 for p in tsdae.parameters())


def test_what_cannot_be_tied_is_refused(tmp_path: Path) -> None:
    base = tiny_bert(tmp_path)
    with pytest.raises(RecipeError, match="decoder starts from the encoder's checkpoint"):
        Denoising(encoder=load(base, from_scratch=True), seed=0)
    pytest.importorskip("peft")
    with pytest.raises(RecipeError, match="with adapters"):
        Denoising(encoder=load(base, lora={"r": 2}), seed=0)


def test_embeddings_of_another_size_are_refused(base: Path) -> None:
    encoder = load(base)
    tsdae = Denoising(encoder=encoder, seed=0)
    batch = row_batch(encoder, views=1)
    with pytest.raises(RecipeError, match="attends to 32 numbers, and embeddings have 8"):
        tsdae(tsdae.draw(batch, batch.micro_batches[0]), torch.zeros(6, 8))
