"""Masked next-token prediction: what it counts, from which states, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from embedkit.auxiliary.mlm import masked_lm_loss
from embedkit.auxiliary.mntp import MaskedNextToken
from embedkit.errors import RecipeError
from embedkit.recipe.plan import plan
from embedkit.recipe.schema import Recipe
from tests.auxiliary.models import load, row_batch, tiny_masked_lm
from tests.model.architectures import build
from tests.tiny import sentences


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("llama", tmp_path_factory.mktemp("base") / "llama")


@pytest.mark.parametrize("tied", [False, True])
def test_loss_is_that_of_the_whole_model_from_the_state_before(tied: bool, tmp_path: Path) -> None:
    base = build("llama", tmp_path / "llama", tie_word_embeddings=tied)
    encoder = load(base, bidirectional=True, pooling="mean")
    mntp = MaskedNextToken(rate=0.3, mask="bade", encoder=encoder, seed=3)
    assert not mntp.head.new and any(True for _ in mntp.parameters()) is not tied
    encoder.module.eval(), mntp.eval()
    batch, rows = row_batch(encoder), np.arange(12)
    config = AutoConfig.from_pretrained(base)
    config.is_causal = False
    whole = AutoModelForCausalLM.from_pretrained(base, config=config, dtype=torch.float32).eval()
    ids, told = mntp._masked(batch, rows)
    plain, chosen = mntp.masker([batch.input_ids[i] for i in rows], _draws(mntp, batch, rows))
    want, count = 0.0, 0
    for i, (row, targets) in enumerate(zip(ids, told, strict=True)):
        assert row[0] == batch.input_ids[rows[i]][0] and row[1:] == plain[i][1:]
        assert targets == [*chosen[i][1:], 0]
        with torch.no_grad():
            logits = whole(input_ids=torch.tensor([row])).logits[0]
        for place in range(1, len(row)):
            if chosen[i][place]:
                want += float(masked_lm_loss(logits[place - 1][None], torch.tensor([chosen[i][place] - 1])))
                count += 1
    drawn = mntp.draw(batch, rows)
    assert drawn is not None and mntp.count(drawn) == count > 5
    assert float(mntp(drawn, None).value.detach()) == pytest.approx(want, rel=1e-4)


def _draws(mntp: MaskedNextToken, batch: object, rows: np.ndarray) -> list[np.random.Generator]:
    from embedkit.auxiliary.masking import row_draws
    from embedkit.auxiliary.mlm import _DRAW

    return row_draws(_DRAW, mntp.seed, batch, rows)  # type: ignore[arg-type]


def test_held_out_loss_has_the_same_shift(base: Path) -> None:
    mntp = MaskedNextToken(rate=0.3, mask="bade", encoder=load(base, bidirectional=True, pooling="mean"), seed=3)
    found = mntp.held_out(sentences(20, seed=9))
    again = mntp.held_out(sentences(20, seed=9), batch_tokens=64)
    assert found["mlm_loss"] == pytest.approx(again["mlm_loss"], rel=1e-4) and found["mlm_tokens"] > 10


def test_what_it_cannot_teach_is_refused(base: Path, tmp_path: Path) -> None:
    for folder in (tiny_masked_lm(tmp_path / "bert"), base):
        with pytest.raises(RecipeError, match="to read in both directions"):
            MaskedNextToken(encoder=load(folder, pooling="mean"), seed=0)
    encoder = load(base, bidirectional=True, pooling="mean")
    with pytest.raises(RecipeError, match="is not one token"):
        MaskedNextToken(mask="bade gogo", encoder=encoder, seed=0)
    plain = {"data": {"sources": [{"rows": [{"text": "a b"}] * 4}]}, "views": {"count": 1}, "objective": "none"}
    recipe = Recipe.model_validate({**plain, "model": {"base": str(base)}, "auxiliary": [{"name": "mntp"}]})
    assert any("its mask stays on" in p.what for p in plan(recipe).refusals)
