"""BECLR: views predict each other and their neighbours in a memory, and are spread out without a softmax."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from embedkit.objectives.base import copied, example_weight, upcast
from embedkit.objectives.byol import BYOL
from embedkit.objectives.logits import products, same_text, unit
from embedkit.objectives.resampling import ClusteredMemory, guided_positives
from embedkit.objectives.views import matching, needs_positives, no_negatives, view_ids
from embedkit.types import Embeddings, LossOut


def agreement(said: Tensor, wanted: Tensor, near: Tensor | None = None) -> Tensor:
    """[N] mean over ordered pairs of views u != v of the cosine of what u says with v, and with v's neighbours.

    Args:
        said: [N, V, d] unit vectors, predictions.
        wanted: [N, V, d] unit vectors, constants.
        near: [N, V, k, d] unit vectors of neighbours, zeros where there is none.
    """
    cosine = (said[:, :, None] * wanted[:, None]).sum(-1)  # [N, V, V]
    count = torch.ones_like(cosine[:, :1])  # [N, 1, V]
    if near is not None:
        cosine = cosine + torch.einsum("nud,nvkd->nuv", said, near)
        count = count + (near != 0).any(-1).sum(-1)[:, None]
    pairs = ~torch.eye(said.shape[1], dtype=torch.bool, device=said.device)
    return ((cosine / count) * pairs).sum((1, 2)) / pairs.sum()


def repulsion(views: Tensor, temperature: float, other: Tensor | None = None, weight: Tensor | None = None) -> Tensor:
    """Scalar ``log mean_i mean_j e^(cos(z_i, z_j) / T)``, j the views of other examples.

    Args:
        views: [N, V, d] unit vectors.
        temperature: T.
        other: [N, N] bool, which examples are others; all but the row where None.
        weight: [N] of the rows in the mean; equal where None.
    """
    n, v, _ = views.shape
    if other is None:
        other = ~torch.eye(n, dtype=torch.bool, device=views.device)
    flat = views.flatten(0, 1)
    mask = other.repeat_interleave(v, 0).repeat_interleave(v, 1)
    total = (products(flat, flat) / temperature).exp().masked_fill(~mask, 0.0).sum(1)
    mean = (total / mask.sum(1).clamp_min(1)).view(n, v).mean(1)
    share = other.any(1).to(mean.dtype) * (1.0 if weight is None else weight)
    whole = (mean * share).sum() / share.sum().clamp_min(torch.finfo(mean.dtype).tiny)
    return torch.where(whole > 0, whole, 1.0).log()


class BECLR(BYOL):
    """BECLR (ICLR 2024, stypoumic/BECLR) over the query and its positives as views::

        loss = -agreement + weight log mean_i mean_j e^(cos(z_i, z_j) / T)

    The agreement is BYOL's, over ordered pairs of views: what a predictor makes of z_u against z'_v, a constant by a
    copy of the encoder (`momentum`; None: z itself). j runs over the views of other examples, but for known matches.

    From step `start` on, and once the memory is full, the agreement is also that with the `neighbours` texts of the
    memory nearest to z'_v in its cluster (`resampling.guided_positives`); texts of the row itself, or known to match
    it, are none. The memory holds the newest texts as the copy embeds them, in clusters of about equal size. That a
    neighbour counts as much as the other view is ours: the authors add neighbours to both sides of the batch. Their
    code takes places inside a cluster for places in the memory, and so other texts than it found.

    Args:
        momentum, hidden, batch_norm: of BYOL.
        weight, temperature: as above, T.
        memory: texts; 0: no memory, and no neighbours.
        clusters: in the memory.
        neighbours: k.
        start: first step with neighbours.
        every: steps between clusterings.

    Raises:
        DataError: the batch has no positives, or explicit negatives.
        RecipeError: a copy is asked for and the step has none.
        TrainingError: batch norm over a batch of one.
    """

    def __init__(
        self,
        momentum: float | None = 0.9,
        hidden: int | None = None,
        batch_norm: bool = True,
        weight: float = 0.1,
        temperature: float = 2.0,
        memory: int = 2000,
        clusters: int = 100,
        neighbours: int = 10,
        start: int = 0,
        every: int = 200,
    ) -> None:
        super().__init__(momentum, hidden, batch_norm)
        self.weight, self.temperature = weight, temperature
        self.neighbours, self.start, self.every = neighbours, start, every
        self.memory = ClusteredMemory(memory, clusters)
        self.remembers = memory > 0

    def forward(self, e: Embeddings, rows: Tensor) -> LossOut:
        no_negatives(e, "beclr")
        needs_positives(e, "beclr")
        every = torch.arange(len(e), device=e.query.device)
        views, wanted = upcast(torch.cat([e.query[:, None], e.positive], dim=1)), self._wanted(e)
        weight = example_weight(e, every)
        with torch.autocast(views.device.type, enabled=False):
            said = unit(torch.stack([self._predict(view) for view in views.unbind(1)], dim=1))
            near = self.near(e, wanted)
            mean = agreement(said, wanted.to(said), None if near is None else near.to(said))
            mean = (mean * weight).sum() / weight.sum().clamp_min(torch.finfo(mean.dtype).tiny)
            apart = repulsion(unit(views), self.temperature, ~matching(e, every), weight)
        metrics: dict[str, Any] = {"agreement": mean.detach(), "repulsion": apart.detach()}
        metrics["neighbours"] = 0.0 if near is None else (near != 0).any(-1).sum(-1).to(mean.dtype).mean()
        return LossOut(self.weight * apart - mean, None, metrics)

    @torch.no_grad()
    def near(self, e: Embeddings, wanted: Tensor) -> Tensor | None:
        """[N, V, k, d] neighbours of every view, zeros for those that there are not; None while there are none yet."""
        if not self.memory.ready or e.step < self.start:
            return None
        n, v, _ = wanted.shape
        own = torch.cat([view_ids(e), e.known_id], dim=1)
        allowed = ~same_text(own, self.memory.text[:, None]).repeat_interleave(v, 0)
        bank = self.memory.vector.to(wanted)
        place, _ = guided_positives(
            wanted.flatten(0, 1), bank, self.memory.prototype.to(wanted), self.memory.cluster, self.neighbours, allowed
        )
        found = bank[place.clamp_min(0)].masked_fill((place < 0)[..., None], 0.0)
        return found.view(n, v, -1, bank.shape[1])

    @torch.no_grad()
    def remember(self, e: Embeddings) -> None:
        if not self.memory.size:
            return
        self.memory.push(self._wanted(e)[:, 0], e.query_id)
        if not self.memory.ready or (e.step + 1) % self.every == 0:
            self.memory.arrange(e.step)

    def _wanted(self, e: Embeddings) -> Tensor:
        """[N, V, d] unit vectors of the views, constants."""
        seen = e if self.momentum is None else copied(e, "beclr")
        return unit(torch.cat([seen.query[:, None], seen.positive], dim=1).detach())
