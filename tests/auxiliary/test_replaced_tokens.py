"""DiffCSE's auxiliary: the edits, and the whole loss against a plain padded rendition of the published step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModel, AutoModelForMaskedLM

from embedkit.auxiliary.generator import pick
from embedkit.auxiliary.replaced_tokens import ReplacedTokens, edited, replaced_token_loss
from embedkit.errors import RecipeError
from embedkit.recipe.schema import Recipe
from embedkit.train import checkpoint
from tests.auxiliary.models import load, row_batch, tiny_masked_lm
from tests.device import DEVICE, PACKS
from tests.model import half_kernels
from tests.model.architectures import build
from tests.tiny import sentences, tiny_bert
from tests.train.runs import trainer


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_masked_lm(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_masked_lm(tmp_path_factory.mktemp("generator"), "distilbert", seed=5)


def made(base: Path, generator: Path, **options: Any) -> tuple[Any, ReplacedTokens]:
    encoder = load(base, dropout=0.0, pooling="cls")
    rtd = ReplacedTokens(generator=str(generator), encoder=encoder, seed=3, **options)
    encoder.module.train(), rtd.train()
    return encoder, rtd


def by_row(drawn: Any, rtd: ReplacedTokens, lengths: list[int]) -> list[tuple[list[int], list[bool]]]:
    """Edited ids and replaced flags of each row, padding left out."""
    ids = drawn.features["input_ids"].flatten()
    first = drawn.first.tolist()
    return [
        (ids[start : start + n].tolist(), drawn.replaced[start : start + n].tolist())
        for start, n in zip(first, lengths, strict=True)
    ]


@pytest.mark.parametrize("mode", ["argmax", "sample"])
@pytest.mark.parametrize("packs", PACKS)
def test_only_masked_ordinary_tokens_change(base: Path, generator: Path, mode: str, packs: bool) -> None:
    encoder, rtd = made(base, generator, generator_mode=mode, rate=0.5)
    encoder.module.packs = packs
    batch = row_batch(encoder)
    rows = batch.micro_batches[0]
    drawn = rtd.draw(batch, rows)
    originals = [batch.input_ids[i] for i in rows]
    special = set(encoder.st.tokenizer.all_special_ids)
    for (new, replaced), old in zip(by_row(drawn, rtd, [len(r) for r in originals]), originals, strict=True):
        assert replaced == [a != b for a, b in zip(new, old, strict=True)]
        assert not any(r for r, token in zip(replaced, old, strict=True) if token in special)
    assert drawn.replaced.sum() > 10
    assert rtd.count(drawn) == sum(map(len, originals))


def test_every_token_but_the_first_may_change_as_in_the_code_of_the_paper(base: Path, generator: Path) -> None:
    encoder, rtd = made(base, generator, only_masked=False)
    batch = row_batch(encoder)
    rows = batch.micro_batches[0]
    originals = [batch.input_ids[i] for i in rows]
    found = by_row(rtd.draw(batch, rows), rtd, [len(r) for r in originals])
    assert all(new[0] == old[0] and not r[0] for (new, r), old in zip(found, originals, strict=True))
    assert any(r[-1] for _, r in found)  # the separator too


def test_samples_follow_the_predicted_distribution() -> None:
    logits = torch.tensor([0.5, -1.0, 2.0, 0.0])
    level = torch.from_numpy(np.random.default_rng(0).random(20_000))
    drawn = pick(logits.expand(20_000, -1), level)
    p = logits.softmax(0)
    share = torch.bincount(drawn, minlength=4) / 20_000
    assert ((share - p).abs() < 4 * (p * (1 - p) / 20_000).sqrt()).all()
    assert pick(logits[None]).tolist() == [2]
    edges = pick(
        torch.tensor([[-torch.inf, 0.0, 0.0, -torch.inf]] * 3), torch.tensor([0.0, 0.5, 1 - 1e-9], dtype=torch.float64)
    )
    assert edges.tolist() == [1, 2, 2]  # a token without probability is never drawn


def test_a_proposal_that_equals_the_original_is_no_replacement() -> None:
    ids, proposed = torch.tensor([5, 6, 7]), torch.tensor([8, 6, 9])
    new, replaced = edited(ids, proposed, torch.tensor([False, True, True]))
    assert new.tolist() == [5, 6, 9] and replaced.tolist() == [False, False, True]


def published(
    encoder: Any, rtd: ReplacedTokens, base: Path, generator: Path, batch: Any, told: Tensor, ignore_padding: bool
) -> Tensor:
    """The step of DiffCSE's code with `transformers` alone: one padded batch, argmax at every place, embeddings told
    through `inputs_embeds`, which for BERT enter before position and type embeddings and the norm: so the layers are
    run by hand after the embedding layer."""
    rows = np.arange(len(batch.input_ids))
    width = max(map(len, batch.input_ids))
    ids, mask, masked = (torch.zeros(len(rows), width, dtype=torch.int64, device=DEVICE) for _ in range(3))
    drawn = rtd.masker([batch.input_ids[i] for i in rows], _mask_draws(rtd, batch, rows))[0]
    for i, row in enumerate(batch.input_ids):
        ids[i, : len(row)], mask[i, : len(row)] = torch.tensor(row), 1
        masked[i, : len(row)] = torch.tensor(drawn[i])
    teacher = AutoModelForMaskedLM.from_pretrained(generator, dtype=torch.float32).to(DEVICE).eval()
    with torch.no_grad():
        generated = teacher(input_ids=masked, attention_mask=mask).logits.argmax(-1)
    generated[:, 0] = ids[:, 0]
    edits = generated * mask
    labels = (generated != ids) * mask
    student = AutoModel.from_pretrained(base, dtype=torch.float32, add_pooling_layer=False).to(DEVICE).eval()
    hidden = student.embeddings(input_ids=edits)
    hidden = torch.cat([told[:, None], hidden[:, 1:]], dim=1)
    additive = (1 - mask[:, None, None, :].float()) * torch.finfo(torch.float32).min
    states = student.encoder(hidden, attention_mask=additive).last_hidden_state
    logits = rtd.judge(states)
    if ignore_padding:
        labels = labels.masked_fill(mask == 0, -100)
    return nn.functional.cross_entropy(logits.view(-1, 2), labels.view(-1))


def _mask_draws(rtd: ReplacedTokens, batch: Any, rows: np.ndarray) -> Any:
    from embedkit.auxiliary import replaced_tokens
    from embedkit.auxiliary.masking import row_draws

    return row_draws(replaced_tokens._MASKS, rtd.seed, batch, rows)


def test_attention_in_half_precision_without_autocast(base: Path, generator: Path) -> None:
    told = torch.randn(12, 32, generator=torch.Generator().manual_seed(0)).to(DEVICE)
    losses = []
    for prepare in (lambda encoder: encoder, half_kernels.use):
        encoder = prepare(load(base, dropout=0.0))
        rtd = ReplacedTokens(generator=str(generator), encoder=encoder, seed=7)
        losses.append(float(rtd(rtd.draw(row_batch(encoder), np.arange(12)), told).value.detach()))
    assert losses[1] == pytest.approx(losses[0], rel=0.02) and losses[0] != losses[1]


@pytest.mark.parametrize("ignore_padding", [True, False])
@pytest.mark.parametrize("size", [None, 3])
def test_the_published_step(base: Path, generator: Path, ignore_padding: bool, size: int | None) -> None:
    """Loss and the gradient into the embeddings, whatever the micro-batches."""
    encoder, rtd = made(base, generator, only_masked=False, ignore_padding=ignore_padding)
    batch = row_batch(encoder, size=size)
    told = torch.randn(12, 32, generator=torch.Generator().manual_seed(0)).to(DEVICE).requires_grad_()
    want = published(encoder, rtd, base, generator, batch, told, ignore_padding)
    (gradient,) = torch.autograd.grad(want, told)
    total, count = torch.zeros((), device=DEVICE), 0.0
    for rows in batch.micro_batches:
        drawn = rtd.draw(batch, rows)
        total = total + rtd(drawn, told[torch.from_numpy(rows).to(DEVICE)]).value
        count += rtd.count(drawn)
    (ours,) = torch.autograd.grad(total / count, told)
    assert float((total / count).detach()) == pytest.approx(float(want.detach()), rel=1e-5)
    torch.testing.assert_close(ours, gradient, rtol=1e-4, atol=1e-7)
    assert float(gradient.abs().max()) > 1e-5
    longest = max(map(len, batch.input_ids))
    assert count == (sum(map(len, batch.input_ids)) if ignore_padding else 12 * longest)


def test_loss_of_given_logits() -> None:
    logits = torch.tensor([[[2.0, 0.0], [0.0, 1.0], [5.0, 5.0]]])
    replaced = torch.tensor([[False, True, False]])
    some = replaced_token_loss(logits, replaced, torch.tensor([[True, True, False]]))
    p = [np.exp(2) / (np.exp(2) + 1), np.exp(1) / (1 + np.exp(1))]
    assert float(some) == pytest.approx(-np.log(p).sum(), rel=1e-6)
    assert float(replaced_token_loss(logits, replaced)) == pytest.approx(-np.log([*p, 0.5]).sum(), rel=1e-6)


def test_generator_and_encoder_do_not_train_through_it(base: Path, generator: Path) -> None:
    encoder, rtd = made(base, generator)
    frozen = rtd._generator[0]
    assert not any(p.requires_grad for p in (*frozen.backbone.parameters(), *frozen.head.parameters()))
    assert not frozen.backbone.training and frozen.packs == (True in PACKS)
    owned = {id(p) for p in rtd.parameters()}
    others = [*encoder.module.parameters(), *frozen.backbone.parameters(), *frozen.head.parameters()]
    assert not owned & {id(p) for p in others}
    batch = row_batch(encoder)
    out = rtd(rtd.draw(batch, batch.micro_batches[0]), torch.zeros(12, 32, device=DEVICE, requires_grad=True))
    out.value.backward()
    assert all(p.grad is None for p in encoder.module.parameters())
    assert rtd.judge.weight.grad is not None


def test_generator_dropout_is_an_option(base: Path, generator: Path) -> None:
    encoder, rtd = made(base, generator, generator_train_mode=True, only_masked=False)
    batch = row_batch(encoder)
    first, second = (rtd.draw(batch, batch.micro_batches[0]).features["input_ids"] for _ in range(2))
    assert not torch.equal(first, second)


@pytest.mark.parametrize(("encoder_family", "generator_family"), [("roberta", "roberta"), ("bert", "electra")])
def test_other_families(tmp_path: Path, encoder_family: str, generator_family: str) -> None:
    base = tiny_masked_lm(tmp_path / "base", encoder_family)
    encoder, rtd = made(base, tiny_masked_lm(tmp_path / "generator", generator_family, seed=2))
    batch = row_batch(encoder)
    out = rtd(rtd.draw(batch, batch.micro_batches[0]), torch.zeros(12, 32, device=DEVICE))
    assert torch.isfinite(out.value)


def test_another_vocabulary_is_refused(base: Path, generator: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    other = tiny_masked_lm(tmp_path / "other", "distilbert")
    tokenizer = AutoTokenizer.from_pretrained(other)
    tokenizer.add_tokens(["new"])
    tokenizer.save_pretrained(other)
    with pytest.raises(RecipeError, match="another vocabulary than the encoder: 323 and 322 tokens, 322 of them"):
        made(base, other)


def test_a_generator_without_head_or_positions_is_refused(base: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no masked-LM head, so it cannot propose"):
        made(base, tiny_bert(tmp_path / "plain"))
    with pytest.raises(RecipeError, match=r"the encoder keeps .* and the generator takes 8"):
        made(base, tiny_masked_lm(tmp_path / "short", "distilbert", max_position_embeddings=8))


def test_embeddings_of_another_size_are_refused(base: Path, generator: Path) -> None:
    encoder, rtd = made(base, generator)
    batch = row_batch(encoder)
    with pytest.raises(RecipeError, match="embeddings of 8 numbers"):
        rtd(rtd.draw(batch, batch.micro_batches[0]), torch.zeros(12, 8))


def test_an_architecture_without_embedding_layer_is_refused(tmp_path: Path, generator: Path) -> None:
    encoder = load(build("t5", tmp_path))
    with pytest.raises(RecipeError, match="no embedding layer"):
        ReplacedTokens(generator=str(generator), encoder=encoder, seed=0)


def test_a_checkpoint_holds_the_discriminator_and_not_the_generator(
    base: Path, generator: Path, tmp_path: Path
) -> None:
    from safetensors.torch import load_file

    options = {
        "model": {"base": str(base), "max_length": 24, "pooling": "cls"},
        "data": {"sources": [{"rows": [{"text": t} for t in sentences(16)], "roles": {"text": "text"}}]},
        "auxiliary": [{"name": "replaced_tokens", "generator": str(generator)}],
        "train": {"batch_size": 8, "steps": 1, "device": DEVICE},
    }
    t = trainer(Recipe.model_validate(options), tmp_path)
    t.train()
    (saved,) = checkpoint.find_checkpoints(tmp_path)
    names = load_file(saved / "embedkit" / "auxiliary.safetensors")
    assert {n.split(".")[1] for n in names} == {"discriminator", "judge"}
