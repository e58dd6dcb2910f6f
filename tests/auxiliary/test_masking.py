"""Masks: BERT's shares, never a special token, and the same whatever the cut of the work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embedkit.auxiliary.masking import Masker, row_draws
from tests.auxiliary.models import load, row_batch
from tests.tiny import sentences, tiny_bert


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return load(tiny_bert(tmp_path_factory.mktemp("base")))


def test_shares_are_80_10_10_of_the_chosen(encoder: Any) -> None:
    """25,000 ordinary tokens: each share within four standard deviations."""
    tokenizer = encoder.st.tokenizer
    rows = tokenizer(sentences(3000, seed=3, shortest=8))["input_ids"]
    masked, targets = Masker(tokenizer, 0.3)(rows, (np.random.default_rng([1, i]) for i in range(len(rows))))
    ids, new, target = (np.concatenate([np.array(r) for r in part]) for part in (rows, masked, targets))
    ordinary = ~np.isin(ids, tokenizer.all_special_ids)
    chosen = target > 0
    assert not (chosen & ~ordinary).any() and (new[~chosen] == ids[~chosen]).all()
    assert (target[chosen] - 1 == ids[chosen]).all()
    n, k = ordinary.sum(), chosen.sum()
    assert abs(k / n - 0.3) < 4 * (0.3 * 0.7 / n) ** 0.5
    to_mask = new[chosen] == tokenizer.mask_token_id
    kept = new[chosen] == ids[chosen]
    by_chance = 0.1 / len(tokenizer)  # a random token may be the mask token, or the original
    for share, expected in ((to_mask, 0.8 + by_chance), (kept, 0.1 + by_chance)):
        assert abs(share.mean() - expected) < 4 * (expected * (1 - expected) / k) ** 0.5
    random = new[chosen][~to_mask & ~kept]
    assert len(set(random.tolist())) > 0.8 * len(tokenizer)  # from the whole vocabulary


def test_a_row_keeps_its_mask_in_every_process_micro_batch_and_order(encoder: Any) -> None:
    masker = Masker(encoder.st.tokenizer, 0.3)
    whole, half = row_batch(encoder, count=6), row_batch(encoder, count=6, own=slice(3, 6))

    def masked(batch: Any, rows: list[int]) -> list[list[int]]:
        chosen = np.array(rows)
        return masker([batch.input_ids[i] for i in rows], row_draws(9, 1, batch, chosen))[0]

    every = masked(whole, list(range(12)))
    assert masked(half, list(range(6))) == every[6:]
    assert masked(whole, [7, 2]) == [every[7], every[2]]
    assert every[0] != every[1]  # two views of a text have masks of their own
    other = row_draws(9, 2, whole, np.array([0]))
    assert other[0].random() != row_draws(9, 1, whole, np.array([0]))[0].random()


def test_a_tokenizer_without_mask_token_is_refused(tmp_path: Path) -> None:
    from embedkit.auxiliary.mlm import MaskedLM
    from embedkit.errors import RecipeError

    encoder = load(tiny_bert(tmp_path))
    encoder.st.tokenizer.mask_token = None
    with pytest.raises(RecipeError, match="no mask token"):
        MaskedLM(encoder=encoder, seed=0)
