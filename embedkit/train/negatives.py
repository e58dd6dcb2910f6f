"""What the trainer needs of negatives that change while it trains; `embedkit.mining.online` has them."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from embedkit.types import Example


class Negatives(Protocol):
    """Negatives by query, of one version at a time. The version of an update depends on its number alone."""

    def before(self, update: int) -> None:
        """What has to happen before an update: a search, or the taking over of its result. All processes call it."""
        ...

    def join(self, source: int, examples: list[Example]) -> list[Example]:
        """The examples of a source with the negatives of the present version."""
        ...

    def stand_ins(self) -> AbstractContextManager[None]:
        """Within it `join` gives other documents, as many as will be found: to measure what an update takes."""
        ...

    def save(self, folder: Path) -> None:
        """Write what `load` needs to go on; process 0 calls it."""
        ...

    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""
        ...

    def close(self) -> None:
        """Training is over, or ends early: nothing goes on in the background."""
        ...
