"""One update with each auxiliary beside a real encoder, in every layout of the work, and by plain autograd."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import nn

from embedkit.auxiliary.base import Auxiliary
from embedkit.model.running.encoder import Encoder
from embedkit.objectives.base import build, build_heads
from embedkit.recipe import registry
from embedkit.recipe.objectives.contrastive import InfoNCE
from embedkit.recipe.objectives.wrappers import Nothing
from embedkit.train.distributed import Comm
from embedkit.train.step import Step
from tests.auxiliary.models import WRITES, load, row_batch
from tests.contract.answers import Answer
from tests.device import DEVICE

SEEDS = {1: (3,), 2: (3, 4)}
"""Steps of the batches of one update, by accumulation."""


@dataclass(frozen=True)
class Case:
    """An auxiliary as a recipe names it, and what stands beside it."""

    name: str
    options: tuple[tuple[str, Any], ...] = ()
    objective: bool = True
    heads: bool = False
    count: int = 2
    base: str = "base"

    def build(self, encoder: Encoder, generator: Path) -> Auxiliary:
        target = registry.resolve(registry.lookup("auxiliary", self.name).target)
        options = {k: str(generator) if v == "GENERATOR" else v for k, v in self.options}
        made: Auxiliary = target(**options, encoder=encoder, seed=7)
        return made


def case(name: str, *, base: str = "base", objective: bool = True, heads: bool = False, **options: Any) -> Case:
    return Case(name, tuple(options.items()), objective, heads, base=base)


CASES = {
    "mlm": case("mlm", rate=0.3),
    "mlm-first": case("mlm", rate=0.3, views="first"),
    "mlm-masked-inputs": case("mlm", rate=0.3, mask_inputs=True),
    "mlm-alone": case("mlm", rate=0.3, objective=False),
    "mntp": case("mntp", rate=0.3, mask="bade", base="causal"),
    "diffcse": case("replaced_tokens", generator="GENERATOR", weight=0.5, heads=True),
    "diffcse-sample": case("replaced_tokens", generator="GENERATOR", weight=0.5, generator_mode="sample"),
    "diffcse-reference": case(
        "replaced_tokens", generator="GENERATOR", weight=0.5, heads=True, only_masked=False, ignore_padding=False
    ),
    "grace": case("grace", rollouts=3, objective=False, base="writer"),
    "tsdae": case("tsdae", objective=False),
    "tsdae-untied": case("tsdae", tie=False, weight=0.3),
}


BASES: dict[str, dict[str, Any]] = {
    "base": {"pooling": "cls", "dropout": 0.0},
    "causal": {"pooling": "mean", "bidirectional": True},
    "writer": WRITES,
}
"""How each base is loaded."""


@dataclass(frozen=True)
class Layout:
    """How the work of one update is cut."""

    micro: int | None
    accumulation: int
    keep: bool

    def __str__(self) -> str:
        graph = "keep" if self.keep else "reforward"
        return f"micro={self.micro or 'all'} accumulation={self.accumulation} {graph}"


LAYOUTS = [Layout(*c) for c in product((1, 3, None), (1, 2), (True, False))]

FEW = [Layout(1, 2, True), Layout(3, 1, False), Layout(None, 2, False)]
"""What is fast to test; the whole product is a slow test."""


class Setting:
    """Encoder, heads and auxiliary of a case, in float64 without dropout."""

    def __init__(self, case: Case, base: Path, generator: Path) -> None:
        self.case = case
        self.encoder = load(base.parent / case.base, **BASES[case.base])
        self.auxiliary = case.build(self.encoder, generator)
        self.heads = [h.to(DEVICE) for h in build_heads(_heads() if case.heads else (), self.encoder.dim, seed=0)]
        self.objective = build(InfoNCE(temperature=0.1) if case.objective else Nothing())
        for module in (self.encoder.module, self.auxiliary, self.objective, *self.heads, *_frozen(self.auxiliary)):
            module.double().train()
        for module in _frozen(self.auxiliary):
            module.eval()

    def step(self, comm: Comm | None = None, keep: bool = True) -> Step:
        return Step(
            self.encoder,
            [self.objective],
            comm,
            heads=self.heads,
            auxiliaries=[self.auxiliary],
            seed=5,
            keep_graph=lambda _: keep,
        )

    def parameters(self) -> dict[str, nn.Parameter]:
        parts = {"encoder": self.encoder.module, "heads": nn.ModuleList(self.heads), "auxiliary": self.auxiliary}
        named = {f"{part}.{n}": p for part, module in parts.items() for n, p in module.named_parameters()}
        return {n: p for n, p in named.items() if p.requires_grad}

    def answer(self, loss: float) -> Answer:
        """Loss and all gradients; a parameter without gradient counts as zeros."""
        found = {n: torch.zeros_like(p) if p.grad is None else p.grad.clone() for n, p in self.parameters().items()}
        return {"loss": torch.tensor(loss, dtype=torch.float64), **found}


def _heads() -> tuple[Any, ...]:
    return (registry.resolve(registry.lookup("head", "batch_norm_projector").config)(),)


def _frozen(auxiliary: Auxiliary) -> list[nn.Module]:
    """Companions that are no submodules."""
    found: list[nn.Module] = []
    for generator in getattr(auxiliary, "_generator", ()):
        found += [generator.backbone, generator.head]
    for loss in getattr(auxiliary, "_loss", ()):
        loss.double().train()
    return found


def run(name: str, layout: Layout, comm: Comm, base: Path, generator: Path) -> Answer:
    """One update on this process's share; the answer is the same on all processes."""
    s = Setting(CASES[name], base, generator)
    s.encoder.use_sparse_token_gradients()
    step = s.step(comm, layout.keep)
    share = 6 // comm.world
    own = slice(comm.rank * share, (comm.rank + 1) * share)
    # a different number of micro-batches per process must not matter
    size = layout.micro if layout.micro is None or comm.rank == 0 else layout.micro + 1
    losses = []
    for number in SEEDS[layout.accumulation]:
        batch = row_batch(s.encoder, step=number, views=s.case.count, size=size, own=own)
        losses.append(step(batch, 1 / layout.accumulation).loss)
    step.finish(list(s.parameters().values()))
    return s.answer(sum(losses) / len(losses))


def oracle(name: str, accumulation: int, base: Path, generator: Path) -> Answer:
    """The same update by plain autograd, padded, in one process."""
    s = Setting(CASES[name], base, generator)
    s.encoder.module.packs = False
    step, total = s.step(), 0.0
    for number in SEEDS[accumulation]:
        loss = step.reference(row_batch(s.encoder, step=number, views=s.case.count)) / accumulation
        loss.backward()
        total += float(loss.detach())
    step.finish(list(s.parameters().values()))
    return s.answer(total)
