"""Replayed rows from a column to the loss, in the real trainer; the previous model stays as it was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from embedkit.data.sources import load_source
from embedkit.errors import DataError
from embedkit.recipe.schema import Recipe, Source
from embedkit.train.trainer import Trainer
from tests.device import DEVICE
from tests.tiny import sentences, tiny_bert
from tests.train.runs import trainer

ROLES = {"text": "text", "label": "label", "memory": "old"}


def rows(count: int = 24, **changed: Any) -> list[dict[str, Any]]:
    """Every third row is replayed, of classes 0 and 1; the others are of 2 and 3."""
    texts = sentences(count, seed=3)
    return [
        {"text": text, "label": i % 2 + (0 if i % 3 == 0 else 2), "old": i % 3 == 0, **changed}
        for i, text in enumerate(texts)
    ]


def source(found: list[dict[str, Any]]) -> Source:
    return Source.model_validate({"rows": found, "roles": ROLES})


def test_marks_reach_the_examples() -> None:
    loaded = load_source(source(rows()))
    assert [e.memory for e in loaded.get(range(6))] == [True, False, False, True, False, False]
    assert not loaded.remarks and "memory" in loaded.roles
    other = rows()
    other[1] |= {"old": True, "label": 0}
    assert load_source(source(other)).digest != loaded.digest
    assert load_source(Source(rows=tuple(rows()))).get([0])[0].memory is None


@pytest.mark.parametrize(("written", "mark"), [("True", True), ("0", False), (1, True), (0.0, False)])
def test_marks_as_files_write_them(written: Any, mark: bool) -> None:
    assert load_source(source(rows(label=1, old=written))).get([0])[0].memory is mark


@pytest.mark.parametrize("written", ["old", "", None, 2, [True]])
def test_other_marks_are_bad_rows(written: Any) -> None:
    with pytest.raises(DataError, match="neither true nor false in 'old'"):
        load_source(source(rows(old=written)))


def test_a_first_task_is_said_and_a_class_on_both_sides_refused() -> None:
    assert load_source(source(rows(old=False))).remarks == [
        "no row is memory: an objective on replayed rows is off, as in a first task"
    ]
    with pytest.raises(DataError, match="classes both in the memory and in the new task: sports"):
        load_source(source(rows(label="sports")))


def streamed(tmp_path: Path, found: list[dict[str, Any]], **options: Any) -> Source:
    (tmp_path / "s.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found), encoding="utf-8")
    made = {"path": str(tmp_path / "s.jsonl"), "roles": ROLES, "streaming": True, "shuffle_buffer": 4, **options}
    return Source.model_validate(made)


def test_a_stream_is_checked_as_it_is_read(tmp_path: Path) -> None:
    good = load_source(streamed(tmp_path, rows(30)), peek=5)
    assert not good.remarks and [e.memory for e in good.get(range(90))].count(True) == 30
    with pytest.raises(DataError, match=r"s\.jsonl:2: classes both in the memory and in the new task: sports"):
        load_source(streamed(tmp_path, rows(30, label="sports")), peek=5)
    late = rows(30)
    late[29] |= {"old": True}
    loaded = load_source(streamed(tmp_path, late), peek=5)
    loaded.get(range(10))
    with pytest.raises(DataError, match=r"s\.jsonl:30: classes both in the memory and in the new task: 3"):
        loaded.get(range(10, 30))
    assert len(load_source(streamed(tmp_path, late, limit=29), peek=5).get(range(58))) == 58


def test_a_stream_without_memory_says_so_at_the_end_of_its_first_pass(tmp_path: Path) -> None:
    loaded = load_source(streamed(tmp_path, rows(30, old=False)), peek=5)
    loaded.get(range(10))
    assert not loaded.remarks
    loaded.get(range(10, 75))
    assert loaded.remarks == load_source(source(rows(old=False))).remarks


def replaying(tmp_path: Path) -> Trainer:
    terms = [{"objective": "supcon"}, {"objective": "replay_supcon"}]
    recipe = Recipe.model_validate(
        {
            "model": {"base": str(tiny_bert(tmp_path / "base")), "max_length": 24},
            "data": {"sources": [{"rows": rows(), "roles": ROLES}]},
            "views": {"count": 2},
            "objective": {"name": "sum", "terms": terms},
            "train": {"batch_size": 12, "steps": 2, "learning_rate": 1e-3, "log_every": 1, "device": DEVICE},
        }
    )
    return trainer(recipe, tmp_path / "run")


def test_marks_reach_the_loss(tmp_path: Path) -> None:
    made = replaying(tmp_path)
    batch = made.pipeline.batch(0, 0)
    assert batch.memory is not None and batch.label is not None
    assert batch.memory.tolist() == (batch.label < 2).tolist()
    result = made.engine(batch)
    assert result.metrics["replayed"] == pytest.approx(float(batch.memory.float().mean()))
    assert 0 < result.metrics["kept_similarity"] <= 1


@pytest.mark.slow
def test_training_holds_on_to_the_model_it_began_with(tmp_path: Path) -> None:
    made = replaying(tmp_path)
    target = made.engine.target
    assert target is not None
    start = [p.clone() for p in target.module.parameters()]
    made.train()
    assert all(torch.equal(a, b) for a, b in zip(start, target.module.parameters(), strict=True))
    own = made.encoder.module.parameters()
    assert any(not torch.equal(a, b) for a, b in zip(start, own, strict=True))
    assert sum("replayed" in line for line in made.state.log_history) == 2
