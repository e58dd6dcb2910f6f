"""Everything that crosses processes: gather, sum, agreement. With one process each of these is the identity."""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from embedkit.errors import RecipeError, TrainingError
from embedkit.spread.processes import gather

BUCKET_BYTES = 64 * 2**20
"""Gradients are summed in flat buckets of about this size: few collectives, bounded extra memory."""

PATIENCE = timedelta(days=1)
"""How long a process waits for the others: process 0 evaluates and writes alone, which may take longer than the
10 minutes (NCCL) or 30 minutes (gloo) after which torch would give up. A process that dies ends the others at once."""


@dataclass(frozen=True)
class Comm:
    """The process group in five words. `Comm.current()` reads it from torch.distributed.

    Attributes:
        rank: index of this process.
        world: number of processes.
        own: whether `join` made the group, which is then ours to leave.
    """

    rank: int = 0
    world: int = 1
    own: bool = False

    @classmethod
    def current(cls) -> Comm:
        if dist.is_available() and dist.is_initialized():
            return cls(dist.get_rank(), dist.get_world_size())
        return cls()

    def gather(self, tensor: Tensor) -> Tensor:
        """[n, ...] from every process -> [world * n, ...], in rank order, without gradient. Shapes must agree."""
        return gather(tensor, self.world)

    def sum(self, tensor: Tensor) -> Tensor:
        """Elementwise sum over processes, in place; returns the tensor."""
        if self.world > 1:
            dist.all_reduce(tensor, op=dist.ReduceOp.SUM)
        return tensor

    def any(self, flag: bool, device: torch.device) -> bool:
        """Whether a flag is set in any process; all of them get the same answer."""
        if self.world == 1:
            return flag
        return bool(self.sum(torch.tensor([int(flag)], dtype=torch.int64, device=device)).item())

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

    def collect(self, value: Any) -> list[Any]:
        """The value of every process, in rank order; every process gets all."""
        if self.world == 1:
            return [value]
        found: list[Any] = [None] * self.world
        dist.all_gather_object(found, value)
        return found

    def barrier(self) -> None:
        if self.world > 1:
            dist.barrier()

    def leave_at_exit(self) -> None:
        """Leave a group of our own when the interpreter ends, for a process whose run went well.

        gloo's threads let go of tensors a little after a collective has returned. Where that needs an interpreter
        that is ending, torch aborts the process; leaving the group joins them before.
        """
        if self.own:
            atexit.unregister(_leave)
            atexit.register(_leave)


def _leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def join(device: str) -> Comm:
    """Join the processes that torchrun or accelerate started, if there are any; before any other part of a run.

    Args:
        device: type of the device of this process. accelerate is told where it is the CPU: left to itself it forms a
            group that its own counts do not know of, and all processes then write the same files.

    Raises:
        RecipeError: more processes than GPUs.
    """
    from accelerate import PartialState

    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    devices = {"cuda": torch.cuda.device_count(), "mps": 1}.get(device, here)
    if here > devices:
        raise RecipeError(
            f"{here} processes share {devices} {device} device{'s' * (devices != 1)}, and each needs one of its own",
            "--nproc",
            f"--nproc {devices}, with train.graph: reforward where a batch is too large for it; or train.device: cpu",
        )
    there_is_one = dist.is_available() and dist.is_initialized()
    PartialState(cpu=device == "cpu", timeout=PATIENCE)
    comm = Comm.current()
    return comm if there_is_one else replace(comm, own=comm.world > 1)
