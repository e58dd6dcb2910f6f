"""All layouts in which one update may be computed, and what it gives in each."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from embedkit.objectives.base import Objective, build
from embedkit.train.distributed import Comm
from embedkit.train.step import Step, reference
from tests.contract.toy import ToyEncoder, toy_batch
from tests.objectives.examples import EXAMPLES

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
Answer = dict[str, Tensor]


def objective_of(case: str) -> Objective:
    config, _, weighting = EXAMPLES[case]
    torch.manual_seed(0)
    return build(config, weighting).double()


def answer(encoder: ToyEncoder, objective: Objective, loss: float) -> Answer:
    """Loss and all gradients; a parameter without gradient counts as zeros."""
    named = {**dict(encoder.named_parameters()), **{f"objective.{n}": p for n, p in objective.named_parameters()}}
    gradients = {n: torch.zeros_like(p) if p.grad is None else p.grad.clone() for n, p in named.items()}
    return {"loss": torch.tensor(loss, dtype=torch.float64), **gradients}


def run(case: str, layout: Layout, comm: Comm) -> Answer:
    """One update on this process's share; the answer is the same on all processes."""
    encoder, objective = ToyEncoder(), objective_of(case)
    template = EXAMPLES[case][1]
    share = len(template) // comm.world
    own = slice(comm.rank * share, (comm.rank + 1) * share)
    step = Step(encoder, [objective], comm, keep_graph=lambda _: layout.keep, rows_per_block=layout.block)
    losses = []
    for seed in SEEDS[layout.accumulation]:
        # a different number of micro-batches per process must not matter
        micro = layout.micro if layout.micro is None or comm.rank == 0 else layout.micro + 1
        batch = toy_batch(template, seed=seed, own=own, micro=micro)
        losses.append(step(batch, 1 / layout.accumulation).loss)
    step.finish([*encoder.parameters(), *objective.parameters()])
    return answer(encoder, objective, sum(losses) / len(losses))


def oracle(case: str, accumulation: int) -> Answer:
    """The same update by plain autograd in one process."""
    encoder, objective = ToyEncoder(), objective_of(case)
    total = 0.0
    for seed in SEEDS[accumulation]:
        batch = toy_batch(EXAMPLES[case][1], seed=seed, own=slice(None), micro=None)
        loss = reference(encoder, objective, batch) / accumulation
        if loss.requires_grad:
            loss.backward()
        total += float(loss.detach())
    return answer(encoder, objective, total)
