"""Vectors kept between evaluations: of the same weights, text and prompt alone, within a bound of disk."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from embedkit.errors import EmbedkitError
from embedkit.evaluation import kept as module
from embedkit.evaluation import suite as suites
from embedkit.evaluation.forecast import forecast
from embedkit.evaluation.kept import Kept
from embedkit.model.running.encoder import Encoder
from embedkit.recipe.schema import Model
from embedkit.recipe.suite import Suite
from embedkit.types import Scores
from embedkit.vectors.space import Space
from embedkit.vectors.store import VectorStore
from tests.device import DEVICE
from tests.tiny import tiny_bert


class Counting(Encoder):
    """A real encoder that counts the texts it encodes."""

    encoded = 0
    spoil = False

    def encode(self, texts: Any, **options: Any) -> np.ndarray:
        self.encoded += len(texts)
        found = super().encode(texts, **options)
        if self.spoil:
            found[0, 0] = np.nan
        return found


@pytest.fixture(scope="module")
def mini() -> Suite:
    return suites.load_suite("mini")


def load(folder: Path, seed: int = 0, **options: Any) -> Counting:
    base = tiny_bert(folder / "model", seed=seed)
    return Counting.load(Model.model_validate({"base": str(base), **options}), device=DEVICE)


def score(encoder: Encoder, suite: Suite, store: VectorStore | None) -> Scores:
    kept = None if store is None else Kept(encoder, store)
    return suites.evaluate_suite(encoder, suite, resamples=0, kept=kept)


def points(scores: Scores) -> list[dict[str, float]]:
    return [task.metrics for task in scores.tasks]


def test_the_second_evaluation_encodes_nothing_and_says_the_same(tmp_path: Path, mini: Suite) -> None:
    encoder, store = load(tmp_path), VectorStore(tmp_path / "store")
    plain = score(encoder, mini, None)
    encoder.encoded = 0
    first = score(encoder, mini, store)
    encoded = encoder.encoded
    assert 0 < encoded <= sum(task.details["texts"] for task in plain.tasks)
    again = score(encoder, mini, store)
    assert encoder.encoded == encoded
    assert points(first) == points(plain) == points(again)
    assert sum(task.details["reused"] for task in again.tasks) == sum(task.details["texts"] for task in plain.tasks)
    assert all(task.details["texts_per_second"] == 0 for task in again.tasks)
    encoder.encoded = 0
    data = suites.load_data(mini)
    assert forecast(encoder, mini, data, kept=Kept(encoder, store)).texts == encoder.encoded == 0


def test_a_part_of_a_suite_reuses_what_the_whole_has_encoded(tmp_path: Path, mini: Suite) -> None:
    encoder, store = load(tmp_path), VectorStore(tmp_path / "store")
    score(encoder, mini, store)
    encoder.encoded = 0
    score(encoder, suites.load_suite(f"mini:{mini.tasks[-1].name}"), store)
    assert encoder.encoded == 0


@pytest.mark.parametrize("change", ["trained on", "another at the same place", "another prompt", "another length"])
def test_what_changes_a_vector_has_vectors_of_its_own(tmp_path: Path, mini: Suite, change: str) -> None:
    store, encoder = VectorStore(tmp_path / "store"), load(tmp_path)
    score(encoder, mini, store)
    if change == "trained on":
        with torch.no_grad():
            for weight in encoder.module.parameters():
                weight.mul_(1 + torch.randn_like(weight))
    elif change == "another at the same place":
        encoder = load(tmp_path, seed=1)
    elif change == "another prompt":
        encoder = load(tmp_path, prompts={"query": "ba de ", "document": "fi "})
    else:
        encoder = load(tmp_path, max_length=4)
    encoder.encoded = 0
    found = score(encoder, mini, store)
    assert encoder.encoded > 0 and all("reused" not in task.details for task in found.tasks)
    assert points(found) == points(score(encoder, mini, None))


def test_nan_names_the_task(tmp_path: Path, mini: Suite) -> None:
    encoder = load(tmp_path)
    encoder.spoil = True
    with pytest.raises(EmbedkitError, match=rf"^task {mini.tasks[0].name}: .* not finite"):
        score(encoder, mini, VectorStore(tmp_path / "store"))


def test_where_nothing_can_be_kept_it_is_measured_all_the_same(
    tmp_path: Path, mini: Suite, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("embedkit"), "propagate", True)
    (tmp_path / "file").touch()
    encoder = load(tmp_path)
    assert points(score(encoder, mini, VectorStore(tmp_path / "file"))) == points(score(encoder, mini, None))
    assert caplog.text.count("vectors are not kept for the next evaluation") == 1


def test_what_alone_is_too_large_is_not_kept(tmp_path: Path, mini: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LIMIT", 100)
    encoder = load(tmp_path)
    score(encoder, mini, VectorStore(tmp_path / "store"))
    assert not (tmp_path / "store").exists()


class TestTrim:
    @staticmethod
    def filled(root: Path, ages: Sequence[float]) -> list[Path]:
        store, folders = VectorStore(root), []
        for i, age in enumerate(ages):
            shelf = store.of(Space(str(i), 100))
            shelf.add(["a"], np.zeros((1, 100)))
            os.utime(shelf.folder, (time.time() - age,) * 2)
            folders.append(shelf.folder)
        return folders

    def test_the_longest_unused_go_first_and_the_latest_stay(self, tmp_path: Path) -> None:
        folders = self.filled(tmp_path, [9000, 20_000, 100, 5000])
        size = sum(p.stat().st_size for p in folders[0].iterdir())
        VectorStore(tmp_path).trim(10 * size)
        assert all(f.exists() for f in folders)
        VectorStore(tmp_path).trim(3 * size)
        assert [f.exists() for f in folders] == [True, False, True, True]
        VectorStore(tmp_path).of(Space("0", 100))
        VectorStore(tmp_path).trim(0)
        assert [f.exists() for f in folders] == [True, False, True, False], "what was used within the hour"
        assert not list(tmp_path.glob(".*"))

    def test_other_folders_are_left_alone(self, tmp_path: Path) -> None:
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine" / "keep").touch()
        os.utime(tmp_path / "mine", (0, 0))
        VectorStore(tmp_path).trim(0)
        VectorStore(tmp_path / "none").trim(0)
        assert (tmp_path / "mine" / "keep").exists()
