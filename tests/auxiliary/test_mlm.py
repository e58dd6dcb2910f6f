"""The masked-LM auxiliary: what it counts, what it measures on held-out text, pretraining from a recipe."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForMaskedLM

from embedkit.auxiliary.mlm import MaskedLM, masked_lm_loss
from embedkit.errors import RecipeError
from embedkit.recipe.plan import plan
from embedkit.recipe.schema import Recipe
from embedkit.run import train
from tests.auxiliary.models import load, row_batch, tiny_masked_lm
from tests.device import DEVICE
from tests.model import half_kernels
from tests.tiny import sentences


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_masked_lm(tmp_path_factory.mktemp("base"))


def test_loss_is_the_sum_over_chosen_tokens_of_the_whole_model(base: Path) -> None:
    encoder = load(base)
    mlm = MaskedLM(rate=0.3, encoder=encoder, seed=3)
    encoder.module.eval(), mlm.eval()
    batch = row_batch(encoder)
    whole = AutoModelForMaskedLM.from_pretrained(base, dtype=torch.float32).eval()
    rows = np.arange(12)
    ids, targets = mlm._masked(batch, rows)
    want, count = 0.0, 0
    for row, target in zip(ids, targets, strict=True):
        told = torch.tensor(target)
        with torch.no_grad():
            logits = whole(input_ids=torch.tensor([row])).logits[0]
        want += float(masked_lm_loss(logits[told > 0], told[told > 0] - 1))
        count += int((told > 0).sum())
    drawn = mlm.draw(batch, rows)
    assert drawn is not None and mlm.count(drawn) == count
    assert float(mlm(drawn, None).value.detach()) == pytest.approx(want, rel=1e-5)


def test_first_views_only(base: Path) -> None:
    encoder = load(base)
    every, first = (MaskedLM(rate=0.3, views=v, encoder=encoder, seed=3) for v in ("all", "first"))
    batch = row_batch(encoder)
    queries = np.flatnonzero(batch.position % 2 == 0)
    one, two = first.draw(batch, np.arange(12)), every.draw(batch, queries)
    assert one is not None and two is not None
    assert torch.equal(one.targets, two.targets)
    assert first.draw(batch, np.flatnonzero(batch.position % 2 == 1)) is None


def test_the_objective_may_see_the_masked_rows(base: Path) -> None:
    encoder = load(base)
    batch = row_batch(encoder)
    rows = batch.micro_batches[0]
    plain = encoder.features(batch, rows)["input_ids"]
    mlm = MaskedLM(rate=0.3, mask_inputs=True, encoder=encoder, seed=3)
    drawn = mlm.draw(batch, rows)
    assert drawn is not None
    seen = encoder.features(batch, rows)["input_ids"]
    assert torch.equal(seen, drawn.features["input_ids"]) and not torch.equal(seen, plain)
    assert batch.input_ids[0] == row_batch(encoder).input_ids[0]  # the batch itself is as it was


def test_held_out_loss_does_not_depend_on_batches_and_dropout(base: Path) -> None:
    encoder = load(base)
    mlm = MaskedLM(encoder=encoder, seed=3)
    encoder.module.train(), mlm.train()
    texts = sentences(40, seed=9)
    state = torch.random.get_rng_state()
    found = mlm.held_out(texts)
    again = mlm.held_out(texts, batch_tokens=64)
    assert torch.equal(state, torch.random.get_rng_state()) and encoder.module.training
    assert found["mlm_loss"] == pytest.approx(again["mlm_loss"], rel=1e-5)
    assert found["mlm_perplexity"] == pytest.approx(np.exp(found["mlm_loss"]))
    assert found["mlm_tokens"] == again["mlm_tokens"] > 20
    with pytest.raises(RecipeError, match="no token"):
        mlm.held_out(["ba"] * 2)


def test_held_out_loss_under_attention_in_half_precision(base: Path) -> None:
    plain, half = (MaskedLM(encoder=e, seed=3) for e in (load(base), half_kernels.use(load(base))))
    texts = sentences(40, seed=9)
    assert half.held_out(texts)["mlm_loss"] == pytest.approx(plain.held_out(texts)["mlm_loss"], rel=0.02)


def recipe(base: Path, folder: Path, **changes: object) -> Recipe:
    (folder / "train.txt").write_text("\n".join(sentences(400, seed=1)), encoding="utf-8")
    (folder / "dev.txt").write_text("\n".join(sentences(60, seed=2)), encoding="utf-8")
    plain = {
        "model": {"base": str(base), "max_length": 24, "dropout": 0.0},  # 20 updates gain by as much as its draws move
        "data": {"sources": [{"path": str(folder / "train.txt"), "roles": {"text": "text"}}]},
        "views": {"count": 1},
        "objective": "none",
        "auxiliary": [{"name": "mlm", "weight": 1.0}],
        "train": {"batch_size": 32, "steps": 20, "learning_rate": 3e-3, "device": DEVICE, "save_every": 10},
        "eval": {"masked_lm": str(folder / "dev.txt")},
        **changes,
    }
    return Recipe.model_validate(plain)


def test_pretraining_lowers_the_held_out_loss_and_can_go_on(base: Path, tmp_path: Path) -> None:
    said: list[str] = []
    record = train(recipe(base, tmp_path), tmp_path / "run", say=lambda line: said.append(str(line)), progress=False)
    before, after = (e["eval_mlm_loss"] for e in record.evaluations)
    assert [e["step"] for e in record.evaluations] == [0, 20] and after < before - 0.3
    assert sum("nats a token (perplexity" in line for line in said) == 2
    model = tmp_path / "run" / "model"
    assert json.loads((model / "config.json").read_text())["architectures"] == ["BertForMaskedLM"]
    more = train(recipe(model, tmp_path), tmp_path / "more", say=lambda line: None, progress=False)
    assert more.evaluations[0]["eval_mlm_loss"] == pytest.approx(after, rel=1e-5)
    assert not any("head" in warning for warning in more.warnings)


def test_from_scratch_starts_from_the_configuration_alone(base: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    for path in base.iterdir():
        if path.suffix == ".json" or path.name == "vocab.txt":
            (bare / path.name).write_bytes(path.read_bytes())
    scratch = {"model": {"base": str(bare), "max_length": 24, "from_scratch": True}}
    encoders = [load(bare, from_scratch=True), load(bare, from_scratch=True)]
    for a, b in zip(*(e.module.parameters() for e in encoders), strict=True):
        assert torch.equal(a, b)
    with pytest.raises(RecipeError, match="there are no weights"):
        load(bare)
    record = train(recipe(bare, tmp_path, **scratch), tmp_path / "run", say=lambda line: None, progress=False)
    before, after = (e["eval_mlm_loss"] for e in record.evaluations)
    assert after < before - 0.1
    assert not MaskedLM(encoder=load(tmp_path / "run" / "model"), seed=0).head.new


def test_held_out_text_needs_the_auxiliary(base: Path, tmp_path: Path) -> None:
    without = recipe(base, tmp_path, auxiliary=[], objective="infonce", views={"count": 2})
    assert any("masked-LM loss is measured" in p.what for p in plan(without).refusals)


def test_the_plan_says_what_auxiliaries_do(base: Path, tmp_path: Path) -> None:
    made = recipe(
        base, tmp_path, auxiliary=["mlm", "replaced_tokens", "tsdae"], objective="infonce", views={"count": 2}
    )
    said = "\n".join(plan(made).lines())
    for words in (
        "masked-LM loss and perplexity on",
        "15% of the tokens masked",
        "frozen generator distilbert/distilbert-base-uncased",
        "a decoder writes",
    ):
        assert words in said
