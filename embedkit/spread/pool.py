"""What spreads tasks over processes, on one machine or many."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

Make = Callable[[], Callable[[Any], Any]]
"""Picklable; gives, once in every process, the function that its tasks are given to."""


def uses_gpu(make: object) -> bool:
    """Whether what is made may need a GPU: all but what says that its `device` is the CPU."""
    return getattr(make, "device", "auto") != "cpu"


class Pool(Protocol):
    """Processes that do tasks; a process that dies is replaced, and its task done again."""

    @property
    def words(self) -> str:
        """What there is, for a person."""
        ...

    def map(self, make: Make, tasks: Sequence[Any], *, gpu: bool = False) -> Iterator[tuple[int, Any]]:
        """The number of a task and what it gave, in the order in which they are done.

        Args:
            make: gives what does a task.
            tasks: picklable, each done by one call.
            gpu: each process has a GPU, where there are any.

        Raises:
            EmbedkitError: what a task raised; or tasks could not be done.
        """
        ...
