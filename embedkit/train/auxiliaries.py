"""Auxiliary losses in the step: micro-batch by micro-batch, averaged over what all processes count."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from embedkit.auxiliary.base import Auxiliary
from embedkit.data.collate import micro_batches
from embedkit.model.reading.devices import send, wide
from embedkit.train.distributed import Comm
from embedkit.types import RowBatch


@dataclass
class AuxiliaryResult:
    """Losses of all auxiliaries, already weighted, and the gradient they send into the embeddings.

    Attributes:
        loss: weighted sum, equal on all processes.
        gradient: [n * S, d] of `coefficient * loss` for this process's embeddings; None if none is conditioned.
        metrics: ``<name>_loss`` (not weighted) and what the auxiliaries report, means over the global batch.
    """

    loss: float = 0.0
    gradient: Tensor | None = None
    metrics: dict[str, float] = field(default_factory=dict)


def run(
    auxiliaries: Sequence[Auxiliary],
    batch: RowBatch,
    embeddings: Tensor | None,
    comm: Comm,
    *,
    coefficient: float = 1.0,
    autocast: Callable[[], contextlib.AbstractContextManager[Any]] = contextlib.nullcontext,
    backward: bool = True,
    device: torch.device | str = "cpu",
) -> AuxiliaryResult:
    """Forward and backward of every auxiliary; parameters, the encoder's included, get ``.grad`` added.

    Args:
        auxiliaries: in order.
        batch: this process's share.
        embeddings: [n * S, d] of this process, batch heads applied; needed by conditioned auxiliaries.
        comm: all processes.
        coefficient: factor of the gradient (1 / accumulation).
        autocast: context of the forward passes.
        backward: False gives the losses only.
        device: where sums over processes are made.
    """
    result = AuxiliaryResult()
    if backward and embeddings is not None and any(a.conditioned for a in auxiliaries):
        result.gradient = torch.zeros_like(embeddings)
    for auxiliary in auxiliaries:
        drawn = [(rows, auxiliary.draw(batch, rows)) for rows in _cuts(auxiliary, batch)]
        work = [(rows, d) for rows, d in drawn if d is not None]
        counts = [auxiliary.count(d) for _, d in work]
        totals = torch.zeros(1 + len(auxiliary.reports), dtype=wide(device), device=device)
        (count,) = comm.sum(totals.new_tensor([sum(counts)])).tolist()
        if count == 0:
            continue
        for (rows, d), own in zip(work, counts, strict=True):
            told, position = _told(auxiliary, batch, rows, embeddings)
            with autocast(), torch.set_grad_enabled(backward):
                out = auxiliary(d, told)
            if backward and out.value.requires_grad:
                (out.value * (coefficient * auxiliary.weight / count)).backward()
                if told is not None and told.grad is not None and result.gradient is not None:
                    result.gradient[position] += told.grad
            found = [out.value.detach(), *(out.metrics[name] * own for name in auxiliary.reports)]
            totals += torch.stack([v.to(totals) for v in found])
        loss, *reported = (comm.sum(totals) / count).tolist()
        result.loss += auxiliary.weight * loss
        result.metrics.update({f"{auxiliary.name}_loss": loss, **dict(zip(auxiliary.reports, reported, strict=True))})
    return result


def reference(auxiliary: Auxiliary, batch: RowBatch, embeddings: Tensor | None) -> Tensor:
    """The weighted loss with its whole graph, in one process and one micro-batch: the oracle of `run`.

    Args:
        embeddings: [n * S, d] with graph.
    """
    rows = torch.arange(len(batch.input_ids)).numpy()
    drawn = auxiliary.draw(batch, rows)
    told = None
    if auxiliary.conditioned and embeddings is not None:
        told = embeddings[torch.from_numpy(batch.position[rows]).to(embeddings.device)]
    return auxiliary.weight * auxiliary(drawn, told).value / auxiliary.count(drawn)


def _cuts(auxiliary: Auxiliary, batch: RowBatch) -> list[np.ndarray]:
    """The auxiliary's micro-batches: the encoder's, or as large, of rows that are alike for the auxiliary."""
    sizes = auxiliary.sizes(batch)
    if sizes is None:
        return batch.micro_batches
    lengths = np.array([len(ids) for ids in batch.input_ids])
    return micro_batches(sizes, max(int(lengths[rows].sum()) for rows in batch.micro_batches))


def _told(
    auxiliary: Auxiliary, batch: RowBatch, rows: Any, embeddings: Tensor | None
) -> tuple[Tensor | None, Tensor | None]:
    if not auxiliary.conditioned or embeddings is None:
        return None, None
    position = send(batch.position[rows], embeddings.device)
    return embeddings[position].detach().requires_grad_(), position
