"""Gradients that do not undo what the model knew: ProGrad (arXiv 2205.14865)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from embedkit.objectives.base import Objective
from embedkit.train.distributed import Comm

PROJECTED = "prograd_projected"
"""Metric of an update: share of the encoder's tensors whose gradient was projected."""


class ProGrad:
    """Holds the gradient of a general loss beside the task's, and takes from the latter what goes against it.

    For every parameter tensor, with g the task's gradient and b the general one, summed over batches and processes::

        g <- g - strength * min(0, <g, b / |b|>) b / |b|

    so that g stays as it is where both agree, and where b is 0: at the start, when nothing is forgotten yet. It is
    decided tensor by tensor, as the authors do, not over the whole model.

    Args:
        objective: the general loss; without parameters of its own.
        parameters: of the encoder.
        strength: lambda, 1 takes all of it.
    """

    def __init__(self, objective: Objective, parameters: Iterable[nn.Parameter], strength: float = 1.0) -> None:
        self.objective, self.strength = objective, strength
        self.parameters = [p for p in parameters if p.requires_grad]
        self._general: dict[nn.Parameter, Tensor] = {}

    @contextlib.contextmanager
    def apart(self) -> Iterator[None]:
        """What goes into ``.grad`` inside is the general gradient."""
        task = [p.grad for p in self.parameters]
        for p in self.parameters:
            p.grad = self._general.pop(p, None)
        yield
        for p, own in zip(self.parameters, task, strict=True):
            if p.grad is not None:
                self._general[p] = p.grad
            p.grad = own

    @torch.no_grad()
    def finish(self, comm: Comm) -> dict[str, float]:
        """Project the gradients of the update, which are whole already; call once, on all processes."""
        task = [p.grad for p in self.parameters]
        for p in self.parameters:
            general = self._general.pop(p, None)
            p.grad = general.to_dense() if general is not None and general.is_sparse else general
        comm.sum_gradients(self.parameters)
        against = []
        for p, own in zip(self.parameters, task, strict=True):
            general, p.grad = p.grad, own
            if own is not None and general is not None:
                p.grad, conflict = projected(own, general, self.strength)
                against.append(conflict)
        return {PROJECTED: float(torch.stack(against).float().mean())} if against else {}


def projected(task: Tensor, general: Tensor, strength: float) -> tuple[Tensor, Tensor]:
    """The task's gradient without its part against the general one, and whether it had one.

    Args:
        task, general: gradients of one tensor.
        strength: share of that part which goes.
    """
    wide = torch.promote_types(task.dtype, torch.float32)
    direction = general.to(wide)
    direction = direction / direction.norm().clamp_min(torch.finfo(wide).tiny)
    along = (task.to(wide) * direction).sum()
    return (task.to(wide) - strength * along.clamp_max(0.0) * direction).to(task.dtype), along < 0
