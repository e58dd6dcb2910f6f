"""All layouts in which one update may be computed, and what it gives in each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from torch import Tensor

from embedkit.train.distributed import Comm
from embedkit.train.step import Step, reference
from embedkit.types import RowBatch
from tests.contract.answers import Answer
from tests.contract.parts import CASES, Built, Parts
from tests.contract.toy import ToyEncoder, toy_batch

SEEDS = {1: (11,), 2: (11, 12)}
"""Batches of one update, by accumulation."""


@dataclass(frozen=True)
class Layout:
    """How the work of one update is cut."""

    micro: int | None
    accumulation: int
    keep: bool
    block: int | None

    def __str__(self) -> str:
        graph = "keep" if self.keep else "reforward"
        return f"micro={self.micro or 'all'} accumulation={self.accumulation} {graph} block={self.block or 'auto'}"


LAYOUTS = [Layout(*c) for c in product((1, 3, None), (1, 2), (True, False), (None, 2))]

FEW = [Layout(1, 1, True, None), Layout(3, 2, False, 2), Layout(None, 1, False, None), Layout(1, 2, True, 2)]
"""Every size of micro-batch, accumulation, graph and block at least once; the whole product is a slow test."""


def answer(encoder: ToyEncoder, built: Built, loss: float) -> Answer:
    """Loss and all gradients; a parameter without gradient counts as zeros."""
    named = {**dict(encoder.named_parameters()), **built.named_parameters()}
    gradients = {n: torch.zeros_like(p) if p.grad is None else p.grad.clone() for n, p in named.items()}
    return {"loss": torch.tensor(loss, dtype=torch.float64), **gradients}


def run(case: str, layout: Layout, comm: Comm) -> Answer:
    """One update on this process's share; the answer is the same on all processes."""
    parts, encoder = CASES[case], ToyEncoder()
    built = parts.build(encoder)
    share = len(parts.batch) // comm.world
    own = slice(comm.rank * share, (comm.rank + 1) * share)
    step = Step(
        encoder,
        [built.objective],
        comm,
        heads=built.heads,
        auxiliaries=built.auxiliaries,
        guide=_guide(parts, own.start),
        target=_target(parts, own.start),
        keep_graph=lambda _: layout.keep,
        rows_per_block=layout.block,
    )
    losses = []
    for seed in SEEDS[layout.accumulation]:
        # a different number of micro-batches per process must not matter
        micro = layout.micro if layout.micro is None or comm.rank == 0 else layout.micro + 1
        batch = toy_batch(parts.batch, seed=seed, own=own, micro=micro)
        losses.append(step(batch, 1 / layout.accumulation).loss)
    step.finish([*encoder.parameters(), *built.named_parameters().values()])
    return answer(encoder, built, sum(losses) / len(losses))


def oracle(case: str, accumulation: int) -> Answer:
    """The same update by plain autograd in one process."""
    parts, encoder = CASES[case], ToyEncoder()
    built = parts.build(encoder)
    total = 0.0
    for seed in SEEDS[accumulation]:
        batch = toy_batch(parts.batch, seed=seed, own=slice(None), micro=None)
        whole = reference(
            encoder, built.objective, batch, built.heads, built.auxiliaries, _guide(parts, 0), 0, _target(parts, 0)
        )
        loss = whole / accumulation
        if loss.requires_grad:
            loss.backward()
        total += float(loss.detach())
    return answer(encoder, built, total)


def _guide(parts: Parts, first: int) -> Callable[[RowBatch], Tensor] | None:
    if parts.batch.guide is None:
        return None

    def guide(batch: RowBatch) -> Tensor:
        found = parts.guide(batch, first)
        assert found is not None
        return found

    return guide


class _Still:
    """Fixed embeddings in the place of the encoder's copy."""

    def __init__(self, parts: Parts, first: int) -> None:
        self.parts, self.first = parts, first

    def __call__(self, batch: RowBatch) -> Tensor:
        found = self.parts.target(batch, self.first)
        assert found is not None
        return found


def _target(parts: Parts, first: int) -> Any:
    return None if parts.batch.target is None else _Still(parts, first)
