"""What the processes of one training gather from each other, for whoever stands below the trainer."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor


def gather(tensor: Tensor, world: int | None = None) -> Tensor:
    """[n, ...] from every process -> [world * n, ...], in rank order, without gradient.

    Args:
        tensor: of the same shape in all processes.
        world: how many there are; None: all of torch.distributed's group, this one alone where there is none.
    """
    if world is None:
        world = dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1
    if world == 1:
        return tensor.detach().clone()
    sent = tensor.detach().contiguous()
    if sent.dtype == torch.bool:  # which not every backend gathers
        sent = sent.to(torch.uint8)
    parts = [torch.empty_like(sent) for _ in range(world)]
    dist.all_gather(parts, sent)
    return torch.cat(parts).to(tensor.dtype)
