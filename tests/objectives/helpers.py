"""Evaluating objectives outside the step engine, as its formula says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from embedkit.objectives.base import Objective, build, set_up
from embedkit.recipe.objectives.base import ObjectiveConfig
from embedkit.recipe.objectives.base import leaves as leaf_configs
from embedkit.recipe.weighting import WeightingConfig
from embedkit.types import Embeddings, LossOut

FIELDS = ("query", "positive", "negative")


def make(config: ObjectiveConfig, weighting: Sequence[WeightingConfig] = (), dim: int = 8) -> Objective:
    objective = build(config, weighting)
    set_up(objective, dim, seed=0)
    objective.double()
    remember(objective, past(config))
    return objective


def past(config: ObjectiveConfig) -> list[Embeddings]:
    """Two batches that what remembers has seen before, oldest first; some texts are those of the examples."""
    if not any(leaf.remembers for leaf in leaf_configs(config)):
        return []
    found = []
    for seed in (31, 32):
        rng = torch.Generator().manual_seed(seed)

        def normal(*shape: int, rng: torch.Generator = rng) -> Tensor:
            return torch.randn(*shape, generator=rng, dtype=torch.float64)

        n, d = 10, 8
        ids = torch.arange(2 * n).view(n, 2) + 101 + 12 * (seed - 31)  # the second batch has texts of the first
        query = normal(n, d)
        e = Embeddings(
            query=query,
            positive=(query + 0.7 * normal(n, d))[:, None],
            negative=normal(n, 0, d),
            negative_mask=torch.ones(n, 0, dtype=torch.bool),
            query_id=ids[:, 0].clone(),
            positive_id=ids[:, 1:].clone(),
            negative_id=torch.zeros(n, 0, dtype=torch.int64),
            known_id=torch.zeros(n, 1, dtype=torch.int64),
            label=torch.tensor([0, 1, 0, 2, 0, 1, 0, 1, 0, 2]),
            step=seed,
        )
        target = replace(e, query=e.query + 0.2 * normal(n, d), positive=e.positive + 0.2 * normal(n, 1, d))
        found.append(replace(e, target=target))
    return found


@torch.no_grad()
def remember(objective: Objective, batches: Sequence[Embeddings]) -> None:
    """As the engine does after an update of these batches."""
    for e in batches:
        for term in objective.terms(e):
            term.objective.remember(term.embeddings)


def leaves(e: Embeddings, dtype: torch.dtype = torch.float64) -> Embeddings:
    """The batch with fresh embeddings that take a gradient; targets in float32 at least."""
    wide = torch.promote_types(dtype, torch.float32)
    targets = {f: t if t is None else t.to(wide) for f, t in (("score", e.score), ("weight", e.weight))}
    return replace(e, **{f: getattr(e, f).detach().to(dtype).requires_grad_() for f in FIELDS}, **targets)


def gradients(loss: Tensor, e: Embeddings, parameters: Sequence[Tensor] = ()) -> dict[str, Tensor]:
    """Gradients of the embeddings and of `parameters`; zeros where the loss does not depend on them."""
    named = {f: getattr(e, f) for f in FIELDS} | {f"parameter {i}": p for i, p in enumerate(parameters)}
    found = torch.autograd.grad(loss, list(named.values()), allow_unused=True, retain_graph=True)
    return {f: torch.zeros_like(x) if g is None else g for (f, x), g in zip(named.items(), found, strict=True)}


def total(objective: Objective, e: Embeddings, blocks: int | None = None) -> Tensor:
    """The batch loss: every term evaluated, rows in blocks of `blocks`, averaged by weight."""
    out = e.query.new_zeros(())
    for term in objective.terms(e):
        out = out + term.coefficient * average(term.objective, term.embeddings, blocks)
    return out


def average(objective: Objective, e: Embeddings, blocks: int | None = None) -> Tensor:
    answers = [objective(e, rows) for rows in torch.arange(len(e)).split(blocks or len(e))]
    if objective.scope == "batch":
        return answers[0].value
    value, weight = torch.cat([a.value for a in answers]), torch.cat([a.weight for a in answers])
    assert not weight.requires_grad
    return (value * weight).sum() / weight.sum().clamp_min(torch.finfo(value.dtype).tiny)  # 0 where no row counts


def loss_of(config: ObjectiveConfig, e: Embeddings, weighting: Sequence[WeightingConfig] = ()) -> Tensor:
    return total(make(config, weighting), e)


def answer(config: ObjectiveConfig, e: Embeddings, weighting: Sequence[WeightingConfig] = ()) -> LossOut:
    """All rows of a plain objective."""
    return make(config, weighting)(e, torch.arange(len(e)))


def assert_same_loss(
    ours: Callable[[Embeddings], Tensor], theirs: Callable[[Embeddings], Tensor], e: Embeddings
) -> None:
    """Equal values and equal gradients in float64."""
    e = leaves(e)
    a, b = ours(e), theirs(e)
    torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)
    for (f, x), y in zip(gradients(a, e).items(), gradients(b, e).values(), strict=True):
        torch.testing.assert_close(x, y, rtol=1e-9, atol=1e-11, msg=lambda m, f=f: f"{f}: {m}")
