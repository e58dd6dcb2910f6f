"""Everything that crosses processes: gather, sum, agreement. With one process each of these is the identity."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from embedkit.errors import TrainingError

BUCKET_BYTES = 64 * 2**20
"""Gradients are summed in flat buckets of about this size: few collectives, bounded extra memory."""


@dataclass(frozen=True)
class Comm:
    """The process group in five words. `Comm.current()` reads it from torch.distributed.

    Attributes:
        rank: index of this process.
        world: number of processes.
    """

    rank: int = 0
    world: int = 1

    @classmethod
    def current(cls) -> Comm:
        if dist.is_available() and dist.is_initialized():
            return cls(dist.get_rank(), dist.get_world_size())
        return cls()

    def gather(self, tensor: Tensor) -> Tensor:
        """[n, ...] from every process -> [world * n, ...], in rank order, without gradient. Shapes must agree."""
        if self.world == 1:
            return tensor.detach().clone()
        tensor = tensor.detach().contiguous()
        parts = [torch.empty_like(tensor) for _ in range(self.world)]
        dist.all_gather(parts, tensor)
        return torch.cat(parts)

    def sum(self, tensor: Tensor) -> Tensor:
        """Elementwise sum over processes, in place; returns the tensor."""
        if self.world > 1:
            dist.all_reduce(tensor, op=dist.ReduceOp.SUM)
        return tensor

    def agree(self, values: dict[str, int], device: torch.device, *, maximum: Sequence[str] = ()) -> dict[str, int]:
        """Check with one small collective that all processes hold the same integers, before a large one hangs.

        Args:
            values: what must be equal.
            device: where the collective runs.
            maximum: names whose values may differ; their maximum is returned instead.

        Raises:
            TrainingError: naming what differs and each process's value.
        """
        if self.world == 1:
            return values
        table = self.gather(torch.tensor([list(values.values())], dtype=torch.int64, device=device)).tolist()
        result = {}
        for name, column in zip(values, zip(*table, strict=True), strict=True):
            if name not in maximum and len(set(column)) > 1:
                raise TrainingError(
                    f"the processes disagree about {name}: {dict(enumerate(column))}",
                    where="gathering embeddings",
                    cure="every process must read the same recipe and the same data files",
                )
            result[name] = max(column)
        return result

    def sum_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Sum `.grad` over processes, in flat buckets; a missing gradient counts as zeros.

        The step leaves on each process the gradient of its own rows under the *global* loss, so the sum is the
        whole gradient: no factor of the number of processes appears anywhere.
        """
        if self.world == 1:
            return
        bucket: list[Tensor] = []
        size = 0
        for p in parameters:
            if not p.requires_grad:
                continue
            if p.grad is None:
                p.grad = torch.zeros_like(p)
            if bucket and (size + p.grad.nbytes > BUCKET_BYTES or p.grad.dtype != bucket[0].dtype):
                self._sum_bucket(bucket)
                bucket, size = [], 0
            bucket.append(p.grad)
            size += p.grad.nbytes
        if bucket:
            self._sum_bucket(bucket)

    def _sum_bucket(self, tensors: list[Tensor]) -> None:
        flat = torch.cat([t.reshape(-1) for t in tensors])
        dist.all_reduce(flat, op=dist.ReduceOp.SUM)
        for t, part in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
            t.copy_(part.view_as(t))

    def broadcast(self, tensors: Iterable[Tensor]) -> None:
        """Overwrite parameters and buffers with those of process 0."""
        if self.world > 1:
            for t in tensors:
                dist.broadcast(t.data, src=0)

    def barrier(self) -> None:
        if self.world > 1:
            dist.barrier()
