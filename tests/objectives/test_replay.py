"""SupCon of replayed rows: the previous model supplies the positives, the student the negatives."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from embedkit.errors import DataError, RecipeError
from embedkit.objectives.replay import classes_without
from tests.objectives import options as o
from tests.objectives.batches import CLASSES, batch, followed
from tests.objectives.helpers import answer, gradients, leaves, loss_of, make, total

MEMORY = CLASSES > 0
REPLAY = o.ReplaySupCon(temperature=0.3)


def test_rows_of_the_new_task_are_negatives_only() -> None:
    e = leaves(followed(batch(p=0, label=CLASSES, memory=MEMORY)))
    out = make(REPLAY)(e, torch.arange(len(e)))
    assert out.weight.tolist() == MEMORY.double().tolist() and not out.value[~MEMORY].any()
    assert float(out.metrics["replayed"]) == pytest.approx(8 / 12)
    assert e.target is not None
    moved = replace(e.target, query=torch.where(MEMORY[:, None], e.target.query, 9.0))
    assert torch.equal(total(make(REPLAY), replace(e, target=moved)), total(make(REPLAY), e))
    assert gradients(total(make(REPLAY), e), e)["query"][~MEMORY].any()
    apart = gradients(total(make(o.ReplaySupCon(against="memory")), e), e)["query"]
    assert not apart[~MEMORY].any() and apart[MEMORY].any()


def test_one_step_down_the_gradient_is_nearer_to_the_previous_model() -> None:
    """With vectors that were turned away; a class of one row in the batch is held by its own earlier vector."""
    label = torch.arange(12)
    e = leaves(followed(batch(p=0, label=label, memory=label >= 0)))
    before = answer(REPLAY, e)
    step = replace(e, query=(e.query - 0.05 * gradients(total(make(REPLAY), e), e)["query"]).detach())
    after = answer(REPLAY, step)
    assert bool(after.value.mean() < before.value.mean())
    assert float(after.metrics["kept_similarity"]) > float(before.metrics["kept_similarity"])


def test_a_first_task_has_nothing_to_replay() -> None:
    e = leaves(followed(batch(label=CLASSES, memory=CLASSES < 0)))
    loss = total(make(REPLAY), e)
    assert loss.item() == 0.0 and not any(g.any() for g in gradients(loss, e).values())


def test_classes_without_a_replayed_row_are_counted_and_have_no_loss() -> None:
    """Classes 0 and 3 of the new task, 1 and 2 replayed; with one view there is one vector of each row."""
    label = torch.tensor([3, 1, 2, 0, 1, 2, 3, 0, 1, 2, 0, 3])
    memory = (label == 1) | (label == 2)
    for p in (0, 1):
        e = leaves(followed(batch(p=p, label=label, memory=memory)))
        for against in ("batch", "memory"):
            out = make(o.ReplaySupCon(against=against))(e, torch.arange(len(e)))
            assert out.metrics["classes_without_memory"].item() == 2.0
            assert out.value.isfinite().all() and not out.weight[~memory].any() and not out.value[~memory].any()
            grads = gradients(total(make(o.ReplaySupCon(against=against)), e), e)
            assert all(bool(g.isfinite().all()) for g in grads.values())
    alone = batch(label=label, memory=label == 1)
    assert make(REPLAY)(leaves(followed(alone)), torch.arange(2)).metrics["classes_without_memory"].item() == 3.0
    assert classes_without(label, label > 9).item() == 4 and classes_without(label, label >= 0).item() == 0


def test_it_says_what_it_needs() -> None:
    assert REPLAY.roles() == {"query", "label", "memory"} and REPLAY.target_momentum == 1.0
    whole = followed(batch(label=CLASSES, memory=MEMORY))
    with pytest.raises(DataError, match="needs labels"):
        loss_of(REPLAY, replace(whole, label=None))
    with pytest.raises(DataError, match=r"which rows are replayed.*\n.*roles: {memory: COLUMN}"):
        loss_of(REPLAY, replace(whole, memory=None))
    with pytest.raises(DataError, match="no place for explicit negatives"):
        loss_of(REPLAY, followed(batch(m=1, label=CLASSES, memory=MEMORY)))
    with pytest.raises(RecipeError, match="asks a copy of the encoder"):
        loss_of(REPLAY, batch(label=CLASSES, memory=MEMORY))
