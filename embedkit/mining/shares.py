"""How the work of a search is divided among processes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from embedkit.vectors.index.found import Found


class Team(Protocol):
    """The processes that search together: `embedkit.train.distributed.Comm`, or `ALONE`."""

    @property
    def rank(self) -> int: ...

    @property
    def world(self) -> int: ...

    def barrier(self) -> None: ...

    def collect(self, value: Any) -> list[Any]:
        """The value of every process, in rank order, in every process."""
        ...


class _Alone:
    rank, world = 0, 1

    def barrier(self) -> None:
        return

    def collect(self, value: Any) -> list[Any]:
        return [value]


ALONE: Team = _Alone()


def merged(parts: Sequence[Found], k: int) -> Found:
    """The k best of what searches of the same queries over different documents found, whoever made them."""
    best = Found.of(np.hstack([part.rows for part in parts]), np.hstack([part.scores for part in parts]))
    return Found(best.rows[:, :k], best.scores[:, :k])


def share(count: int, team: Team) -> range:
    """The numbers of 0..count-1 that this process has: contiguous, of equal size but for one."""
    start, stop = (count * rank // team.world for rank in (team.rank, team.rank + 1))
    return range(start, stop)
