"""Views that weaken with the share of generated rows, in the real trainer: alike over processes and after resume."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from embedkit.data.sampler import StepSampler
from embedkit.recipe.schema import Recipe
from embedkit.recipe.views import Variant
from embedkit.train.distributed import Comm
from embedkit.train.trainer import Trainer
from tests.device import DEVICE
from tests.tiny import sentences, tiny_bert
from tests.train.runs import state, trainer

WORDS = 20
DELETE = {"name": "delete_words", "rate": 0.4}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bert(tmp_path_factory.mktemp("base"))


def mixed(base: Path, weights: tuple[float, float] | None, **views: Any) -> Recipe:
    """24 real and 48 generated texts of 20 words."""
    rows = [{"text": text} for text in sentences(72, shortest=WORDS, longest=WORDS, seed=4)]
    sources = [{"name": "real", "rows": rows[:24]}, {"name": "made", "rows": rows[24:], "generated": True}]
    for source, weight in zip(sources, weights or (), strict=bool(weights)):
        source["weight"] = weight
    transforms = [[DELETE, {"name": "dropout", "rate": 0.2}], [DELETE]]
    train = {"batch_size": 8, "steps": 6, "save_every": 3, "log_every": 1, "learning_rate": 1e-3, "device": DEVICE}
    return Recipe.model_validate(
        {
            "model": {"base": str(base), "max_length": 64},
            "data": {"sources": sources},
            "views": {"transforms": transforms, "strength": {}, **views},
            "train": train,
        }
    )


def lengths(made: Trainer) -> set[int]:
    """Words of the rows of the run."""
    tokens = (ids for step in range(6) for ids in made.pipeline.batch(step, 0).input_ids)
    tokenizer = made.encoder.st.tokenizer
    return {len(tokenizer.decode(ids, skip_special_tokens=True).split()) for ids in tokens}


@pytest.mark.parametrize(
    ("weights", "gone"),
    [(None, 4), ((1.0, 2.0), 4), ((1.0, 1.0), 5), ((3.0, 1.0), 6)],  # of 8 without generated rows
)
def test_fewer_words_are_left_out_the_more_is_generated(
    base: Path, tmp_path: Path, weights: tuple[float, float] | None, gone: int
) -> None:
    made = trainer(mixed(base, weights), tmp_path)
    assert lengths(made) == {WORDS - gone}
    shares = made.pipeline.sampler.shares
    plain, weaker = made.pipeline.viewing.variants
    assert plain == Variant() and weaker.dropout == pytest.approx(0.2 * (1 - 0.5 * shares[1] / sum(shares) / 0.667))


def test_without_it_views_are_as_written(base: Path, tmp_path: Path) -> None:
    made = trainer(mixed(base, None, strength=None), tmp_path)
    assert lengths(made) == {WORDS - 8} and made.pipeline.viewing.variants == (Variant(), Variant(0.2))


def test_processes_together_read_the_rows_of_one(base: Path, tmp_path: Path) -> None:
    alone = trainer(mixed(base, (1.0, 2.0)), tmp_path).pipeline
    for step in range(6):
        ids = []
        for rank in range(2):
            alone.comm = Comm(rank, 2)
            ids += alone.batch(step, 0).input_ids
        alone.comm = Comm()
        assert sorted(ids) == sorted(alone.batch(step, 0).input_ids)


@pytest.mark.slow
def test_a_resumed_run_has_the_same_strength(base: Path, tmp_path: Path) -> None:
    whole = trainer(mixed(base, (1.0, 2.0)), tmp_path)
    whole.train()
    resumed = trainer(mixed(base, (1.0, 2.0)), tmp_path / "again")
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-3"))
    again, before = state(resumed), state(whole)
    assert again.keys() == before.keys() and all(torch.equal(again[n], before[n]) for n in before)


def test_the_share_does_not_depend_on_how_long_a_run_is() -> None:
    short, long = (StepSampler([24, 48], [1.0, 2.0], 8, 1, 1.0, steps, 0) for steps in (1, 100))
    assert short.shares == long.shares == [1.0, 2.0] and short.counts == [0, 1]
    assert StepSampler([24, 48], [None, None], 8, 1, 1.0, None, 0, repeats=[4, 1]).shares == [12.0, 6.0]
