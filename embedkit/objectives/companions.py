"""State that lives between steps: what an objective remembers of the batches before.

An objective owns companions as submodules and only reads them in `forward`; `Objective.remember` writes them after
the optimiser step, from the detached global batch, so on every process alike. They are saved, broadcast and resumed
with the objective, whatever their size has become.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class Companion(nn.Module):
    """Buffers whose first axis grows.

    They begin without rows; width, dtype and device are those of what is written first.

    Args:
        names: of the buffers.
        integer: those among them that hold text ids or classes.
    """

    def __init__(self, names: tuple[str, ...], integer: tuple[str, ...] = ()) -> None:
        super().__init__()
        for name in names:
            dtype = torch.int64 if name in integer else torch.float32
            self.register_buffer(name, torch.empty(0, dtype=dtype))

    def __len__(self) -> int:
        return len(next(iter(self.buffers())))

    def like(self, stored: Mapping[str, Tensor]) -> None:
        """Take the shapes and dtypes of what a checkpoint holds, before it is read in."""
        for name, buffer in list(self.named_buffers()):
            if name in stored:
                setattr(self, name, torch.empty_like(stored[name], device=buffer.device))

    def _append(self, newest: int | None = None, **rows: Tensor) -> None:
        """Put `rows` behind those that there are, and keep the last `newest`."""
        for name, new in rows.items():
            old = getattr(self, name)
            both = torch.cat([old.to(new), new]) if len(old) else new.clone()
            setattr(self, name, both if newest is None else both[-newest:].clone())


class Queue(Companion):
    """The newest keys, first in, first out.

    Args:
        size: keys kept.

    Attributes:
        key: [K, d] unit vectors, oldest first.
        text: [K] id of the key's text.
        asked: [K] id of the query that it is a positive of.
    """

    key: Tensor
    text: Tensor
    asked: Tensor

    def __init__(self, size: int) -> None:
        super().__init__(("key", "text", "asked"), ("text", "asked"))
        self.size = size

    def push(self, key: Tensor, text: Tensor, asked: Tensor) -> None:
        """Add keys [n, d] with their ids [n]."""
        self._append(self.size, key=key, text=text, asked=asked)


class Table(Companion):
    """A row of numbers per text id, for as many texts as were met.

    A new text costs a sort of all ids; an old one is found by bisection.

    Attributes:
        text: [T] ids, ascending.
        value: [T, C].
    """

    text: Tensor
    value: Tensor

    def __init__(self) -> None:
        super().__init__(("text", "value"), ("text",))

    def find(self, text: Tensor, default: Tensor) -> tuple[Tensor, Tensor]:
        """[n, C] the rows of the ids [n], `default` [C] for those not met yet; [n] which were met."""
        if not len(self):
            return default.expand(len(text), -1), torch.zeros_like(text, dtype=torch.bool)
        place = torch.searchsorted(self.text, text.contiguous()).clamp_max(len(self) - 1)
        met = self.text[place] == text
        return torch.where(met[:, None], self.value[place].to(default), default), met

    def put(self, text: Tensor, value: Tensor) -> None:
        """Write the rows `value` [n, C] of the ids `text` [n]; the mean, where an id is given more than once."""
        text, inverse, count = text.unique(return_inverse=True, return_counts=True)
        value = value.new_zeros(len(text), value.shape[1]).index_add_(0, inverse, value) / count[:, None]
        if len(self):
            place = torch.searchsorted(self.text, text).clamp_max(len(self) - 1)
            met = self.text[place] == text
            self.value[place[met]] = value[met].to(self.value)
            text, value = text[~met], value[~met]
        if len(text):
            self._append(text=text, value=value)
            self.text, order = self.text.sort()
            self.value = self.value[order]


class Pools(Companion):
    """The newest texts of each class.

    Args:
        size: texts kept per class.

    Attributes:
        vector: [K, d] unit vectors, oldest first.
        label: [K] their classes.
    """

    vector: Tensor
    label: Tensor

    def __init__(self, size: int) -> None:
        super().__init__(("vector", "label"), ("label",))
        self.size = size

    def push(self, vector: Tensor, label: Tensor) -> None:
        """Add texts [n, d] of the classes [n]."""
        self._append(vector=vector, label=label)
        newer = torch.zeros_like(self.label)  # of the same class
        order = self.label.argsort(stable=True, descending=False)
        _, count = self.label[order].unique_consecutive(return_counts=True)
        end = count.cumsum(0).repeat_interleave(count)
        newer[order] = end - 1 - torch.arange(len(order), device=order.device)
        kept = newer < self.size
        self.vector, self.label = self.vector[kept], self.label[kept]

    def prototypes(self, support: int, seed: int) -> tuple[Tensor, Tensor]:
        """Per class the mean of `support` of its texts, drawn from `seed`, or of all where there are fewer.

        Returns:
            [C, d], and the classes [C], ascending.
        """
        generator = torch.Generator().manual_seed(seed)
        draw = torch.rand(len(self), generator=generator, dtype=torch.float64).to(self.label.device)
        order = draw.argsort()
        order = order[self.label[order].argsort(stable=True)]
        classes, count = self.label[order].unique_consecutive(return_counts=True)
        start = (count.cumsum(0) - count).repeat_interleave(count)
        chosen = torch.arange(len(order), device=order.device) - start < support
        rows, of = order[chosen], torch.arange(len(classes), device=order.device).repeat_interleave(count)[chosen]
        sums = self.vector.new_zeros(len(classes), self.vector.shape[1]).index_add_(0, of, self.vector[rows])
        return sums / count.clamp_max(support)[:, None], classes
