"""The boundary of the step: embeddings become leaves of the whole batch, and the objective's gradient comes back.

The only module through which examples of different processes meet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from embedkit.model.reading.devices import send, wide
from embedkit.objectives.base import BatchHead, Objective
from embedkit.recipe import memory
from embedkit.train.distributed import Comm
from embedkit.types import PAD_ID, Embeddings, RowBatch

QUERY_COSINE = "query_cosine"
"""Metric of every step: mean cosine between different queries of the pool; 1 is full collapse."""


@dataclass(frozen=True)
class Leaves:
    """One pool of embeddings, detached from the encoder.

    Attributes:
        values: [N, S, d], slot 0 the query, then P positives, then M negatives.
        present: [N, S] bool, False where an example has no text in a slot.
        template: the pool's ids and targets; its embeddings are views of `values`.
        own: [n] indices of this process's examples in the pool.
        query_cosine: scalar, mean cosine between different queries, as the encoder embeds them; NaN for a reranker.
    """

    values: Tensor
    present: Tensor
    template: Embeddings
    own: Tensor
    query_cosine: Tensor

    def embeddings(self, values: Tensor) -> Embeddings:
        """The pool seen through `values`, so that an objective's gradient reaches them."""
        return _seen_through(values, self.template)


def _seen_through(values: Tensor, template: Embeddings) -> Embeddings:
    p = template.positive.shape[1]
    return replace(template, query=values[:, 0], positive=values[:, 1 : 1 + p], negative=values[:, 1 + p :])


@dataclass(frozen=True)
class BatchGradient:
    """The batch side's answer.

    Attributes:
        loss: loss of the global batch, equal on all processes.
        share: [N, S, d] this process's share of the gradient of `coefficient * loss`; the shares' sum over the
            processes of the pool is the whole.
        metrics: means over the global batch.
    """

    loss: float
    share: Tensor
    metrics: dict[str, float]


def gather(
    batch: RowBatch, block: Tensor, comm: Comm, guide: Tensor | None = None, target: Tensor | None = None
) -> Leaves:
    """Collect the pool from all processes.

    Args:
        batch: this process's share, for ids and targets.
        block: [n * S, d] embeddings, zeros where an example has no text in a slot.
        comm: the processes that share the pool.
        guide: [n * S, g] the guide's embeddings of the same texts.
        target: [n * S, d] those of the encoder's copy.

    Raises:
        TrainingError: the processes' shapes, source or step differ.
    """
    device, width = block.device, block.shape[-1]
    size = comm.agree(
        {
            "rows per process": batch.n,
            "positives per query": batch.positives,
            "negatives per query": batch.negatives,
            "embedding dimension": width,
            "embedding dimension of the guide": 0 if guide is None else guide.shape[-1],
            "data source of the step": batch.source,
            "step": batch.step,
            "scores per example": 0 if batch.score is None else batch.score.shape[1],
            "label": int(batch.label is not None),
            "weight": int(batch.weight is not None),
            "memory": int(batch.memory is not None),
            "known": batch.known_id.shape[1],
        },
        device,
        maximum=("known",),
    )
    known = torch.nn.functional.pad(batch.known_id, (0, size["known"] - batch.known_id.shape[1]), value=PAD_ID)
    ids = send(torch.cat([batch.query_id[:, None], batch.positive_id, batch.negative_id, known], dim=1), device)
    query_id, positive_id, negative_id, known_id = comm.gather(ids).split(
        [1, batch.positives, batch.negatives, size["known"]], dim=1
    )

    def pool(t: Tensor) -> Tensor:
        return comm.gather(t.view(batch.n, batch.slots, t.shape[-1]))

    values = pool(block).requires_grad_()
    present = torch.ones(values.shape[:2], dtype=torch.bool, device=device)
    present[:, 1 + batch.positives :], present[:, 0] = negative_id != PAD_ID, not batch.paired
    template = Embeddings(
        query=values[:, 0],
        positive=values[:, 1 : 1 + batch.positives],
        negative=values[:, 1 + batch.positives :],
        negative_mask=negative_id != PAD_ID,
        query_id=query_id[:, 0],
        positive_id=positive_id,
        negative_id=negative_id,
        known_id=known_id,
        score=_targets(batch.score, block, comm),
        label=_targets(batch.label, block, comm),
        weight=_targets(batch.weight, block, comm),
        step=batch.step,
        paired=batch.paired,
        memory=_targets(batch.memory, block, comm),
    )
    if guide is not None:
        template = replace(template, guide=_seen_through(pool(send(guide, device)), template))
    if target is not None:
        template = replace(template, target=_seen_through(pool(send(target, device)), template))
    own = torch.arange(batch.n, device=device) + comm.rank * batch.n
    queries = values[:1, 0] if batch.paired else values[:, 0]  # a reranker has none: of one row the mean is NaN
    return Leaves(values, present, template, own, _mean_cosine(queries))


def _targets(own: Tensor | None, block: Tensor, comm: Comm) -> Tensor | None:
    """What all processes' examples have beside their texts, fractions in the kind of `block`."""
    if own is None:
        return None
    return comm.gather(send(own.to(block.dtype) if own.is_floating_point() else own, block.device))


@dataclass(frozen=True)
class Projected:
    """A pool behind its batch heads.

    Attributes:
        leaves: what the objective sees: detached from the heads.
        inner, outer: the same values with graph, and the encoder's, which they come from; None without heads.
    """

    leaves: Leaves
    inner: Tensor | None = None
    outer: Tensor | None = None

    def pull_back(self, gradient: Tensor) -> Tensor:
        """The gradient [N, S, d'] of what the objective sees, as one of the encoder's embeddings [N, S, d].

        The heads' parameters get theirs added. It is linear, so shares of a gradient may be pulled back apart.
        """
        if self.inner is None or self.outer is None:
            return gradient
        self.inner.backward(gradient.to(self.inner.dtype))
        assert self.outer.grad is not None
        return self.outer.grad


def project(heads: Sequence[BatchHead], leaves: Leaves, seed: int, backward: bool = True) -> Projected:
    """Put the pool through the batch heads.

    Args:
        heads: in order; none gives the pool itself.
        leaves: the pool.
        seed: of everything random in the heads, equal on all processes.
        backward: whether `Projected.pull_back` will be called.
    """
    if not heads:
        return Projected(leaves)
    with torch.set_grad_enabled(backward):
        inner = apply_heads(heads, leaves.values, leaves.present, seed)
    seen = inner.detach().requires_grad_()
    return Projected(replace(leaves, values=seen, template=_seen_through(seen, leaves.template)), inner, leaves.values)


def apply_heads(heads: Sequence[BatchHead], values: Tensor, present: Tensor, seed: int) -> Tensor:
    """[N, S, d] through all heads; each draws from a seed of its own."""
    for place, head in enumerate(heads):
        values = head(values, present, seed * len(heads) + place)
    return values


def differentiate(
    objective: Objective,
    leaves: Leaves,
    everyone: Comm,
    *,
    coefficient: float = 1.0,
    rows_per_block: int | None = None,
    backward: bool = True,
) -> BatchGradient:
    """Loss of the pool and this process's share of its gradient; objective parameters get ``.grad`` added.

    A row-scope term is evaluated on this process's rows only, block by block, and divided by the weight of all
    rows of all processes. A batch-scope term is evaluated whole by each process and counts once per process, so
    that both are the same sum: ``sum over processes of numerator / sum over processes of weight``.

    Args:
        objective: flat or wrapped; `Objective.terms` gives the flat list.
        leaves: the pool.
        everyone: all processes; the average runs over them.
        coefficient: factor of the gradient (1 / accumulation).
        rows_per_block: rows evaluated at once; None bounds logits memory (`embedkit.recipe.memory`).
        backward: False gives the loss only.
    """
    parameters = [p for p in objective.parameters() if p.requires_grad]
    inputs = [leaves.values, *parameters]
    terms = objective.terms(leaves.template)
    parts = []
    metrics: dict[str, list[tuple[Any, int]]] = {QUERY_COSINE: [(leaves.query_cosine, 1)]}
    if not terms:
        return BatchGradient(
            0.0, torch.zeros_like(leaves.values), _read(leaves.values.new_zeros(0), metrics, everyone)[1]
        )
    for index, term in enumerate(terms):
        whole = term.objective.scope == "batch"
        columns = term.objective.columns(term.embeddings)
        size = (
            len(leaves.own) if whole else rows_per_block or memory.rows_per_block(columns, leaves.values.element_size())
        )
        gradient = [torch.zeros_like(t) for t in inputs] if backward else []
        totals = leaves.values.new_zeros(2)  # numerator, weight
        for rows in leaves.own.split(size):
            with torch.set_grad_enabled(backward):
                piece = objective.terms(leaves.embeddings(leaves.values))[index]
                out = piece.objective(piece.embeddings, rows)
                if whole:
                    numerator, weight = out.value, torch.ones_like(out.value)
                else:
                    assert out.weight is not None
                    numerator, weight = (out.value * out.weight).sum(), out.weight.sum()
            totals += torch.stack([numerator.detach(), weight.detach()]).to(totals.dtype)
            for name, value in out.metrics.items():
                metrics.setdefault(name, []).append((value, len(rows)))
            if backward and numerator.requires_grad:
                for total, g in zip(gradient, torch.autograd.grad(numerator, inputs, allow_unused=True), strict=True):
                    if g is not None:
                        total += g
        parts.append((term.coefficient, totals, gradient))

    sums = everyone.sum(torch.stack([totals for _, totals, _ in parts]))
    weight = sums[:, 1].clamp_min(torch.finfo(sums.dtype).tiny)
    leaf = torch.zeros_like(leaves.values)
    for (c, _, gradient), w in zip(parts, weight, strict=True):
        for i, g in enumerate(gradient):
            share = g * (coefficient * c / w)
            if i == 0:
                leaf += share
            else:
                p = parameters[i - 1]
                p.grad = share if p.grad is None else p.grad + share
    losses, means = _read(sums[:, 0] / weight, metrics, everyone)
    return BatchGradient(sum(c * v for (c, _, _), v in zip(parts, losses, strict=True)), leaf, means)


def _mean_cosine(x: Tensor) -> Tensor:
    """Mean cosine between different rows of x [N, d], without the N x N matrix; NaN for a single row."""
    n = len(x)
    total = torch.nn.functional.normalize(x.detach(), dim=1).sum(0).square().sum()
    return (total - n) / (n * (n - 1)) if n > 1 else torch.full_like(total, torch.nan)


def _read(
    losses: Tensor, metrics: dict[str, list[tuple[Any, int]]], comm: Comm
) -> tuple[list[float], dict[str, float]]:
    """The losses and the row-weighted mean of each metric over blocks and processes, in one wait for the device.

    Args:
        losses: [terms], over all processes already.
        metrics: by name, (mean, rows) of this process's blocks; NaN blocks (no such pairs) are left out.
        comm: all processes.
    """
    device, dtype = losses.device, wide(losses.device)

    def sums(blocks: list[tuple[Any, int]]) -> Tensor:
        means = torch.stack([torch.as_tensor(mean, dtype=dtype, device=device).detach() for mean, _ in blocks])
        rows = send(torch.tensor([rows for _, rows in blocks], dtype=dtype), device)
        none = means.isnan()
        return torch.stack([(means * rows).masked_fill(none, 0.0).sum(), rows.masked_fill(none, 0.0).sum()])

    names = sorted(metrics)
    table = comm.sum(torch.stack([sums(metrics[name]) for name in names]))
    found = torch.cat([losses.detach().to(dtype), table.flatten()]).tolist()
    totals, counts = found[len(losses) :: 2], found[len(losses) + 1 :: 2]
    means = {name: total / count for name, total, count in zip(names, totals, counts, strict=True) if count > 0}
    return found[: len(losses)], means
