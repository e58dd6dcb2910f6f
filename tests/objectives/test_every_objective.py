"""What holds for every registered objective: equal to the loops, to its own row blocks, to finite differences."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from embedkit.objectives.base import Objective
from embedkit.recipe import registry
from embedkit.recipe.objectives.dclr import DCLR
from embedkit.recipe.weighting import Dynamic, Focal, Hardness
from embedkit.types import Embeddings
from tests.objectives import options as o
from tests.objectives.batches import Case, batch, infonce, tangled
from tests.objectives.examples import EXAMPLES
from tests.objectives.helpers import FIELDS, average, gradients, leaves, make, past, total
from tests.objectives.naive import LOOPS, OTHERWISE, Rows

CASES = sorted(EXAMPLES)


def loops(case: Case, e: Embeddings, objective: Objective) -> Rows | Tensor:
    if isinstance(case.config, o.InfoNCE):
        learned = getattr(objective, "log_scale", None)
        temperature = case.config.temperature if learned is None else torch.exp(-learned)
        return LOOPS[case.config.name](case.config, e, case.weighting, temperature)
    if isinstance(case.config, o.Symile):
        learned = getattr(objective, "log_scale", None)
        return LOOPS[case.config.name](case.config, e, None if learned is None else torch.exp(learned))
    beside: list[Any] = [past(case.config)] if case.config.remembers else []
    if case.config.learns:
        beside.append(dict(objective.named_parameters()))
    return LOOPS[case.config.name](case.config, e, *beside)


def permuted(e: Embeddings, order: Tensor) -> Embeddings:
    tensors = {f: v[order] for f, v in vars(e).items() if isinstance(v, Tensor)}
    beside = {f: None if x is None else permuted(x, order) for f, x in (("guide", e.guide), ("target", e.target))}
    return replace(e, **tensors, **beside)


def test_every_registered_objective_has_a_case_and_a_loop() -> None:
    names = set(registry.names("objective"))
    cases = {case.config.name for case in EXAMPLES.values()}
    assert not names - cases - {"none"}, f"add to tests/objectives/examples.py: {sorted(names - cases - {'none'})}"
    known = set(LOOPS) | set(OTHERWISE)
    assert not names - known, f"write a loop in tests/objectives/naive/ and name it in LOOPS: {sorted(names - known)}"
    assert not known - names and not set(LOOPS) & set(OTHERWISE)
    assert {w.name for case in EXAMPLES.values() for w in case.weighting} == set(registry.names("weighting"))


@pytest.mark.parametrize("name", [n for n in CASES if EXAMPLES[n].config.name not in OTHERWISE])
def test_equals_the_loops(name: str) -> None:
    case = EXAMPLES[name]
    e = leaves(case.batch)
    objective = make(case.config, case.weighting)
    ours, theirs = objective(e, torch.arange(len(e))), loops(case, e, objective)
    if isinstance(theirs, Tensor):
        assert ours.weight is None
        loss, want = ours.value, theirs
    else:
        torch.testing.assert_close(ours.weight, theirs[1], rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(ours.value, theirs[0], rtol=1e-9, atol=1e-12)
        loss = (ours.value * ours.weight).sum() / ours.weight.sum()
        weight = theirs[1].detach()
        want = (theirs[0] * weight).sum() / weight.sum()
    torch.testing.assert_close(loss, want, rtol=1e-10, atol=0)
    parameters = tuple(objective.parameters())
    got, wanted = gradients(loss, e, parameters), gradients(want, e, parameters)
    for f in got:
        torch.testing.assert_close(got[f], torch.nan_to_num(wanted[f]), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("rows", [1, 5])
def test_row_blocks_add_up_to_the_whole(name: str, rows: int) -> None:
    case = EXAMPLES[name]
    e, objective = leaves(case.batch), make(case.config, case.weighting)
    whole, blocks = total(objective, e), total(objective, e, rows)
    torch.testing.assert_close(blocks, whole, rtol=1e-12, atol=0)
    a, b = gradients(whole, e), gradients(blocks, e)
    for f in FIELDS:
        torch.testing.assert_close(b[f], a[f], rtol=1e-9, atol=1e-13)


def draws_by_place(case: Case) -> bool:
    return (
        isinstance(case.config, o.MoCHi)
        or getattr(case.config, "pairs", "") in ("permutation", "arbitrary")
        or getattr(case.config, "negatives", "") == "shuffled"
        or getattr(case.config, "mix", "list") in ("pairs", True)
        or isinstance(case.config, o.STORM)
    )


@pytest.mark.parametrize("name", [n for n in CASES if not draws_by_place(EXAMPLES[n])])
def test_the_order_of_examples_does_not_matter(name: str) -> None:
    case = EXAMPLES[name]
    objective = make(case.config, case.weighting)
    order = torch.randperm(len(case.batch), generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(
        total(objective, permuted(case.batch, order)), total(objective, case.batch), rtol=1e-11, atol=0
    )


def stops_gradient(case: Case) -> bool:
    held = any(isinstance(p, (Hardness, Dynamic)) or (isinstance(p, Focal) and p.detach) for p in case.weighting)
    moved = isinstance(case.config, DCLR) and case.config.noise_times and case.config.noise_steps
    fixed = isinstance(
        case.config,
        (
            o.MACL,
            o.MoCHi,
            o.SogCLR,
            o.ASCL,
            o.MoCo,
            o.FeatureTransform,
            o.Circle,
            o.CircleBatch,
            o.CACRKeys,
            o.SwAV,
            o.BYOL,
            o.STORM,
        ),
    ) or any(getattr(case.config, option, False) for option in ("detach_weights", "detach_others"))
    other = getattr(case.config, "activation", "") == "rep_relu"
    other = other or (isinstance(case.config, o.GML) and case.config.learn_temperature)
    other = other or getattr(case.config, "mix", False) is True
    length = isinstance(case.config, o.MixedNegatives) and case.config.similarity == "dot"
    return held or bool(moved) or fixed or other or length


@pytest.mark.parametrize("name", [n for n in CASES if not stops_gradient(EXAMPLES[n])])
def test_gradients_are_finite_differences(name: str) -> None:
    case = EXAMPLES[name]
    objective = make(case.config, case.weighting)
    parameters = tuple(objective.parameters())
    e = leaves(case.batch)

    def loss(*inputs: Tensor) -> Tensor:
        return total(objective, replace(e, **dict(zip(FIELDS, inputs[:3], strict=True))))

    # a missing negative is a zero vector, where a norm has no derivative: move it, it must not matter
    e = replace(e, negative=torch.where(e.negative_mask[..., None], e.negative, 1.0).detach().requires_grad_())
    inputs = (*(getattr(e, f) for f in FIELDS), *parameters)
    assert torch.autograd.gradcheck(loss, inputs, eps=1e-6, atol=1e-6, rtol=1e-5, fast_mode=True)


@pytest.mark.parametrize("name", CASES)
def test_what_fills_a_missing_negative_does_not_matter(name: str) -> None:
    case = EXAMPLES[name]
    objective = make(case.config, case.weighting)
    filled = torch.where(case.batch.negative_mask[..., None], case.batch.negative, 7.0)
    e = leaves(replace(case.batch, negative=filled))
    loss = total(objective, e)
    torch.testing.assert_close(loss.detach(), total(objective, case.batch), rtol=1e-12, atol=0)
    assert not gradients(loss, e)["negative"][~case.batch.negative_mask].any()


@pytest.mark.parametrize("name", CASES)
def test_half_precision_is_computed_in_float32(name: str) -> None:
    case = EXAMPLES[name]
    objective = make(case.config, case.weighting).float()
    e = leaves(case.batch, torch.bfloat16)
    wide = replace(e, **{f: getattr(e, f).detach().float() for f in FIELDS})
    for term, same in zip(objective.terms(e), objective.terms(wide), strict=True):
        half, full = average(term.objective, term.embeddings), average(same.objective, same.embeddings)
        assert half.dtype == torch.float32
        torch.testing.assert_close(half, full, rtol=1e-6, atol=0)


@pytest.mark.parametrize("name", [n for n in CASES if EXAMPLES[n].config.name != "st"])
def test_autocast_does_not_lower_the_precision(name: str) -> None:
    case = EXAMPLES[name]
    objective, e = make(case.config, case.weighting).float(), leaves(case.batch, torch.float32)
    want = total(objective, e)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(total(objective, e), want, rtol=0, atol=0)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("collapse", ["equal", "zero", "tiny", "huge"])
def test_degenerate_embeddings_keep_the_gradient_finite(name: str, collapse: str) -> None:
    case = EXAMPLES[name]
    e = case.batch
    change = {
        "equal": lambda x: torch.ones_like(x),
        "zero": torch.zeros_like,
        "tiny": lambda x: 1e-15 * x,
        "huge": lambda x: 1e4 * x,
    }[collapse]
    e = replace(e, **{f: change(getattr(e, f)).float() for f in FIELDS})
    e = leaves(e, torch.float32)
    objective = make(case.config, case.weighting).float()
    loss = total(objective, e)
    assert bool(loss.isfinite())
    if case.config.name == "st" and collapse == "zero":
        return  # sentence-transformers' square root of a zero distance; not ours to mend
    assert all(bool(g.isfinite().all()) for g in gradients(loss, e).values())


@pytest.mark.parametrize("name", CASES)
def test_metrics_are_numbers_without_gradient(name: str) -> None:
    case = EXAMPLES[name]
    for term in make(case.config, case.weighting).terms(leaves(case.batch)):
        for key, value in term.objective(term.embeddings, torch.arange(4)).metrics.items():
            assert isinstance(value, float) or (value.ndim == 0 and not value.requires_grad), key
            assert float(value) == float(value), key


def test_temperature_near_zero_is_finite_in_float32() -> None:
    e = leaves(tangled(batch(m=2)), torch.float32)
    loss = total(make(infonce(temperature=0.01)).float(), e)
    assert bool(loss.isfinite())
    assert all(bool(g.isfinite().all()) for g in gradients(loss, e).values())
