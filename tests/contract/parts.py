"""What may stand beside an objective in a step: batch heads, a guide, auxiliary losses. Each with a case here.

Registered batch heads are taken from the registry with their defaults; the auxiliaries are small ones that do all
an auxiliary may do: read tokens, use the encoder's parameters and their own, and send a gradient into embeddings.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from embedkit.auxiliary.base import Auxiliary
from embedkit.objectives.base import BatchHead, Objective, build_heads
from embedkit.recipe import registry
from embedkit.recipe import weighting as w
from embedkit.recipe.heads import HeadConfig
from embedkit.recipe.objectives.base import ObjectiveConfig
from embedkit.recipe.objectives.wrappers import Nothing
from embedkit.types import Embeddings, LossOut, RowBatch
from tests.contract.toy import WIDTH, ToyEncoder
from tests.objectives.batches import batch, infonce, tangled
from tests.objectives.examples import EXAMPLES, TOGETHER
from tests.objectives.helpers import make

HEAD_OPTIONS: dict[str, dict[str, Any]] = {"shuffled_group_whitening": {"groups": 4, "eps": 1e-3}}
"""Where a head's defaults do not fit eight dimensions."""


class TokenLoss(Auxiliary):
    """Cross-entropy of some tokens, from the encoder's own token vectors; no embeddings needed."""

    name = "tokens"
    reports = ("tokens_correct",)

    def __init__(self, encoder: ToyEncoder, weight: float) -> None:
        super().__init__(weight)
        self.encoder = (encoder,)
        self.out = nn.Linear(12, 5).double()

    def draw(self, batch: RowBatch, rows: np.ndarray) -> tuple[Tensor, Tensor] | None:
        ids = np.concatenate([batch.input_ids[r] for r in rows])
        chosen = torch.from_numpy(ids[ids % 3 == 0])
        return (chosen, chosen % 5) if len(chosen) else None

    def count(self, drawn: tuple[Tensor, Tensor]) -> float:
        return len(drawn[0])

    def forward(self, drawn: tuple[Tensor, Tensor], embeddings: Tensor | None) -> LossOut:
        logits = self.out(torch.tanh(self.encoder[0].token(drawn[0])))
        right = (logits.argmax(-1) == drawn[1]).double().mean()
        return LossOut(
            nn.functional.cross_entropy(logits, drawn[1], reduction="sum"), metrics={"tokens_correct": right}
        )


class ToldLoss(Auxiliary):
    """Says from an embedding how long its row is."""

    name = "told"
    conditioned = True

    def __init__(self, weight: float) -> None:
        super().__init__(weight)
        self.out = nn.LazyLinear(1)

    def draw(self, batch: RowBatch, rows: np.ndarray) -> Tensor:
        return torch.tensor([float(len(batch.input_ids[r])) for r in rows], dtype=torch.float64)

    def count(self, drawn: Tensor) -> float:
        return len(drawn)

    def forward(self, drawn: Tensor, embeddings: Tensor | None) -> LossOut:
        assert embeddings is not None
        return LossOut((self.out(embeddings)[:, 0] - drawn).square().sum())


@dataclass(frozen=True)
class Parts:
    """An objective and what stands beside it."""

    objective: ObjectiveConfig
    batch: Embeddings
    weighting: tuple[w.WeightingConfig, ...] = ()
    heads: tuple[HeadConfig, ...] = ()
    auxiliaries: tuple[str, ...] = ()

    def build(self, encoder: ToyEncoder) -> Built:
        torch.manual_seed(0)
        objective = make(self.objective, self.weighting)
        heads = [head.double() for head in build_heads(self.heads, WIDTH, seed=0)]
        width = apply_width(heads)
        return Built(objective, heads, [_auxiliary(name, encoder, width) for name in self.auxiliaries])

    def guide(self, batch: RowBatch, first: int) -> Tensor | None:
        """The guide's embeddings [n * S, g] of a process whose first example is `first`; None without a guide."""
        return _flat(self.batch.guide, batch, first)

    def target(self, batch: RowBatch, first: int) -> Tensor | None:
        """Those of the encoder's copy, likewise."""
        return _flat(self.batch.target, batch, first)


def _flat(e: Embeddings | None, batch: RowBatch, first: int) -> Tensor | None:
    if e is None:
        return None
    own = slice(first, first + batch.n)
    return torch.cat([e.query[own, None], e.positive[own], e.negative[own]], dim=1).flatten(0, 1)


@dataclass
class Built:
    objective: Objective
    heads: list[BatchHead] = field(default_factory=list)
    auxiliaries: list[Auxiliary] = field(default_factory=list)

    def named_parameters(self) -> dict[str, nn.Parameter]:
        modules = {"objective": self.objective, "heads": nn.ModuleList(self.heads)}
        modules["auxiliary"] = nn.ModuleList(self.auxiliaries)
        return {f"{part}.{n}": p for part, module in modules.items() for n, p in module.named_parameters()}


def apply_width(heads: list[BatchHead]) -> int:
    """Size of the embeddings behind the heads."""
    values = torch.randn(12, 2, WIDTH, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for head in heads:
        values = head(values, torch.ones(12, 2, dtype=torch.bool), 0)
    return values.shape[-1]


def _auxiliary(name: str, encoder: ToyEncoder, width: int) -> Auxiliary:
    made: Auxiliary = TokenLoss(encoder, 0.3) if name == "tokens" else ToldLoss(0.01)
    if isinstance(made, ToldLoss):
        made.out(torch.zeros(1, width))
    made.double()
    with torch.no_grad():
        generator = torch.Generator().manual_seed(3)
        for p in made.parameters():
            p.copy_(torch.randn(p.shape, generator=generator, dtype=p.dtype) * 0.3)
    return made


def _head(name: str, **options: Any) -> HeadConfig:
    config = registry.resolve(registry.lookup("head", name).config)
    return config(**{**HEAD_OPTIONS.get(name, {}), **options})


def cases() -> dict[str, Parts]:
    """Every objective, alone or in a sum with others, and the parts."""
    every = {name: case for name, case in EXAMPLES.items() if case.alone} | TOGETHER
    found = {name: Parts(case.config, case.batch, case.weighting) for name, case in every.items()}
    for name in registry.names("head"):
        found[f"head-{name}"] = Parts(infonce(), tangled(batch(p=2, m=1)), heads=(_head(name),))
    every = tuple(_head(name) for name in registry.names("head"))
    found["auxiliary"] = Parts(infonce(), tangled(batch(m=1)), auxiliaries=("tokens",))
    found["auxiliary-told"] = Parts(infonce(learn_temperature=True), batch(p=2), auxiliaries=("told", "tokens"))
    found["auxiliary-told-behind-heads"] = Parts(infonce(), batch(m=1), heads=every, auxiliaries=("told",))
    found["auxiliary-alone"] = Parts(Nothing(), batch(), auxiliaries=("tokens",))
    found["auxiliary-alone-told"] = Parts(Nothing(), batch(), auxiliaries=("told",))
    return found


CASES = cases()
