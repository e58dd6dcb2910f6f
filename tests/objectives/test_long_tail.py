"""Core-tuning, GML and SBCL: what they come to in cases that can be worked out, what they remember and refuse."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from embedkit.errors import DataError
from embedkit.objectives.base import build
from embedkit.objectives.gml import class_logits
from embedkit.objectives.sbcl import SBCL, spherical_kmeans
from embedkit.types import Embeddings
from tests.objectives import options as o
from tests.objectives.batches import CLASSES, batch
from tests.objectives.helpers import answer, assert_same_loss, average, loss_of, remember, total

EVERY = [o.CoreTuning(), o.GML(), o.SBCL()]


@pytest.mark.parametrize("config", EVERY, ids=lambda c: c.name)
def test_they_say_what_they_need(config: o.ObjectiveConfig) -> None:
    assert config.roles() == {"query", "label"} and not config.explicit
    with pytest.raises(DataError, match="needs labels"):
        loss_of(config, batch())
    with pytest.raises(DataError, match="no place for explicit negatives"):
        loss_of(config, batch(m=1, label=CLASSES))


@pytest.mark.parametrize("config", EVERY, ids=lambda c: c.name)
def test_a_label_alone_in_the_batch_counts_nothing(config: o.ObjectiveConfig) -> None:
    objective = build(config).double()
    out = objective(batch(p=0, label=torch.tensor([*range(10), 0, 1])), torch.arange(12))
    assert out.weight.tolist() == [1, 1, *[0] * 8, 1, 1]
    assert bool(out.value.isfinite().all())


def test_core_tuning_without_focus_is_supcon() -> None:
    plain = o.SupCon(temperature=0.2, base_temperature=None)
    e = batch(p=2, label=CLASSES)
    assert_same_loss(lambda e: loss_of(o.CoreTuning(temperature=0.2, focus=0.0), e), lambda e: loss_of(plain, e), e)
    assert float(loss_of(o.CoreTuning(temperature=0.2), e)) < float(loss_of(plain, e))


def test_class_logits_are_means_over_what_may_be_used() -> None:
    logits = torch.tensor([[1.0, 2.0, 3.0, 400.0], [1.0, 2.0, 3.0, -400.0]])
    usable = torch.tensor([[True, True, False, True], [True, False, False, True]])
    found = class_logits(logits, usable, torch.tensor([0, 0, 1, 3]), 4)
    mean = float(torch.tensor([1.0, 2.0]).exp().mean().log())
    assert found[0].tolist() == pytest.approx([mean, -torch.inf, -torch.inf, 400.0])
    assert found[1].tolist() == pytest.approx([1.0, -torch.inf, -torch.inf, -400.0])


def test_gml_of_one_text_per_class_is_a_softmax_adjusted_by_the_prior() -> None:
    """Two views of each text, and each text a class: the keys of other classes are pairs."""
    e = batch(label=torch.arange(12))
    prior = torch.arange(1.0, 13.0, dtype=torch.float64)
    config = o.GML(temperature=0.5, learn_temperature=False, prior=tuple(prior.tolist()))
    q, p = functional.normalize(e.query, dim=1), functional.normalize(e.positive[:, 0], dim=1)
    pairs = torch.stack([q @ q.T, q @ p.T]) / 0.5
    logits = pairs.exp().mean(0).log()
    logits = torch.where(torch.eye(12, dtype=torch.bool), pairs[1], logits) + (prior / prior.sum()).log()
    want = functional.cross_entropy(logits, torch.arange(12))
    torch.testing.assert_close(loss_of(config, e), want, rtol=1e-10, atol=0)


def test_gml_counts_the_classes_as_they_come() -> None:
    rare, often = torch.tensor([0] * 10 + [1] * 2), torch.tensor([0] * 2 + [1] * 10)
    objective = build(o.GML(learn_temperature=False))
    remember(objective, [batch(p=0, label=often), batch(p=0, label=often), batch(p=0, label=rare)])
    assert objective.counts.text.tolist() == [0, 1] and objective.counts.value.tolist() == [[14.0], [22.0]]
    e = batch(p=0, label=rare)
    given = build(o.GML(learn_temperature=False, prior=(24.0, 24.0)))
    torch.testing.assert_close(average(objective, e), average(given, e), rtol=1e-6, atol=0)
    with pytest.raises(DataError, match="a prior of 2 classes and meets label 2"):
        average(given, batch(p=0, label=CLASSES))


def test_gml_learns_its_temperature_apart_from_the_embeddings() -> None:
    objective = build(o.GML()).double()
    e = batch(label=CLASSES)
    e = replace(e, query=e.query.requires_grad_())
    loss = average(objective, e)
    assert objective.log_temperature is not None
    slope, gradient = torch.autograd.grad(loss, [objective.log_temperature, e.query])
    temperature = float(objective.log_temperature.detach().exp())
    fixed = build(o.GML(learn_temperature=False, temperature=temperature)).double()
    (alone,) = torch.autograd.grad(average(fixed, e), e.query)
    torch.testing.assert_close(gradient, alone, rtol=1e-6, atol=1e-12)
    assert float(slope) != 0
    objective.log_temperature.data.fill_(-20.0)
    average(objective, e)
    assert float(objective.log_temperature.detach().exp()) == pytest.approx(0.01)


def test_kmeans_finds_what_lies_apart() -> None:
    rng = torch.Generator().manual_seed(0)
    centres = torch.eye(4, 6)
    truth = torch.arange(40) % 4
    x = functional.normalize(centres[truth] + 0.05 * torch.randn(40, 6, generator=rng), dim=1)
    best = {tuple(spherical_kmeans(x, 4, torch.Generator().manual_seed(seed)).tolist()) for seed in range(8)}
    sizes = [sorted(torch.bincount(torch.tensor(found), minlength=4).tolist()) for found in best]
    assert [10, 10, 10, 10] in sizes
    again = spherical_kmeans(x, 4, torch.Generator().manual_seed(3))
    assert torch.equal(again, spherical_kmeans(x, 4, torch.Generator().manual_seed(3)))
    assert set(spherical_kmeans(torch.ones(5, 3), 3, torch.Generator().manual_seed(0)).tolist()) == {0}


def test_sbcl_begins_as_supcon() -> None:
    e = batch(label=CLASSES)
    plain = o.SupCon(temperature=0.1, base_temperature=0.07)
    for variant in ("rank", "ccl"):
        objective = build(o.SBCL(variant=variant)).double()
        torch.testing.assert_close(total(objective, e), loss_of(plain, e), rtol=1e-10, atol=0)


def many(step: int) -> Embeddings:
    """Sixty texts in three lumps: two of them are class 0, which has forty; then classes of ten and ten."""
    rng = torch.Generator().manual_seed(step)
    lump = torch.tensor([0] * 20 + [1] * 20 + [2] * 10 + [3] * 10)
    x = torch.eye(4, 8)[lump] + 0.02 * torch.randn(60, 8, generator=rng)
    e = batch(p=0, n=60, label=torch.tensor([0] * 40 + [1] * 10 + [2] * 10))
    return replace(e, query=x.double(), step=step)


def test_frequent_classes_are_cut_into_subclasses_when_it_is_time() -> None:
    objective = build(o.SBCL(every=3, smallest=10)).double()
    assert isinstance(objective, SBCL)
    remember(objective, [many(0), many(1)])
    assert len(objective.assigned) == 0 and len(objective.texts) == 60
    remember(objective, [many(2)])
    subclass, temperature = objective.assigned.value.T
    assert len(set(subclass[:40].tolist())) <= 4 and not set(subclass[:20].tolist()) & set(subclass[20:40].tolist())
    assert len(set(subclass[40:50].tolist())) == len(set(subclass[50:].tolist())) == 1
    assert temperature[40:].tolist() == pytest.approx([0.1] * 20)  # of one subclass
    assert len(set(temperature[:40].tolist())) == 1
    twice = build(o.SBCL(every=3, smallest=10)).double()
    remember(twice, [many(k) for k in range(3)])
    assert torch.equal(twice.assigned.value, objective.assigned.value)


def test_a_text_twice_in_a_batch_is_remembered_as_it_comes_first() -> None:
    e = batch(p=0, label=CLASSES)
    e.query_id[3] = e.query_id[0]
    e = replace(e, label=torch.tensor([7, *CLASSES[1:].tolist()]))
    objective = build(o.SBCL()).double()
    remember(objective, [e])
    assert len(objective.texts) == 11 and float(objective.texts.value[0, 0]) == 7
    out = answer(o.SBCL(), e)
    assert out.weight is not None and out.weight[0] == 0
